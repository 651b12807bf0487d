// Package arch tests the layout of the module: who may import whom, where
// outside dependencies live, and that importing a package does nothing. It has
// no code of its own.
package arch
