// Package interop tests the midge binary with MQTT clients that others wrote:
// mosquitto_pub and mosquitto_sub, MQTT.js, and the Eclipse Paho clients for Go
// and Python. Its tests carry the build tag integration.
//
// With MIDGE_INTEROP_ADDR=host:port the tests use the broker that listens there.
package interop
