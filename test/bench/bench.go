// Package bench runs 'midge bench' as its users do: the binary, against Debian's
// Mosquitto and against midge, over each transport. Its tests carry the build tag
// integration; make test runs them.
package bench
