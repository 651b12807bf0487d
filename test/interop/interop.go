// Package interop tests the midge binary with MQTT clients that others wrote:
// mosquitto_pub and mosquitto_sub, MQTT.js, and the Eclipse Paho clients for Go
// and Python. Its tests carry the build tag integration.
//
// It is a module of its own, so that the clients and what they need do not
// become requirements of midge.
//
// With MIDGE_INTEROP_ADDR=host:port the tests use the broker that listens there.
package interop
