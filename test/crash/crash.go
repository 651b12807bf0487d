// Package crash proves that what a broker has acknowledged survives kill -9. It
// runs the midge binary under load from real sockets, kills it at random moments,
// starts it again on the same data directory, and compares what subscribers get
// with what publishers were told. Its clients keep their sessions as the standard
// wants it, so a loss, a second delivery at QoS 2 or a message out of order is the
// broker's. Its tests carry the build tag integration; make crashtest runs many
// rounds of them.
package crash
