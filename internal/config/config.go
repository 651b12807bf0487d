// Package config reads the settings of a broker from their sources, and writes
// the reference page.
//
// A value given by a flag wins over one from the environment, which wins over
// one from etcd, which wins over one from the file, which wins over the default. Load reports all faults at
// once. The settings themselves, with their defaults and ranges, are those of
// package settings.
//
// Files, from the bottom up: config.go, fault.go, suggest.go, value.go,
// file.go, address.go, listener.go, etcd.go, reference.go,
// load.go, change.go.
package config
