// Package conf reads the configuration files of Mosquitto (mosquitto.conf) by
// their real rules, and writes what they say as a file of this broker. It tells
// line by line what has no counterpart, and what to do instead.
//
// The rules were tried with Mosquitto 2.0.11. The package knows the settings of
// this broker only by their keys; package config reads the file that it makes.
//
// Files, from the bottom up: conf.go, line.go, finding.go, entry.go, value.go,
// listener.go, converter.go, general.go, access.go, listen.go, transport.go,
// write.go, convert.go.
package conf
