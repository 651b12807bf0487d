// Package shell is the interactive MQTT client: a prompt, or a script, from
// which several clients connect, subscribe and publish.
package shell
