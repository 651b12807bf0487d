// Package clients tests midge pub and midge sub as users run them: in scripts,
// with the real binary, against Midge and Debian's Mosquitto, and together with
// mosquitto_pub and mosquitto_sub. The tests have the build tag integration.
package clients
