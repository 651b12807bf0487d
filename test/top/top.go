// Package top tests midge top as its users meet it: in a real terminal, in a
// pipe, and against another broker. Its tests carry the build tag integration;
// make test runs them.
package top
