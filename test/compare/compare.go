// Package compare tests midge bench compare as it is delivered: the binary,
// Debian's Mosquitto beside it, and the page in a browser.
package compare
