// Package e2e tests the midge binary as its users meet it: started as a process,
// spoken to over sockets, stopped by signals. Its tests carry the build tag
// integration; make test runs them.
package e2e
