package mqtt3

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"midge/internal/broker"
)

const (
	// parallel is how many tests run at a time: most of their time is waiting for
	// clocks.
	parallel = "16"

	// together is how many kinds of broker are tested at a time, for the same reason.
	together = 4

	// kindVariable has the index in kinds that a process is for.
	kindVariable = "MQTT_KIND"
)

// kind is a way to run the broker.
type kind struct {
	what      string
	memory    bool   // everything is in memory; otherwise durability = commit
	engine    string // epoll or goroutine; "": what MQTT_ENGINE says, or else what a user of this system gets
	transport string // one of transport.go; "": tcp
	compact   bool   // the record layer of TLS is package tlsrecord
	late      bool   // the disk, and who decides who may connect, take their time
	asks      broker.Authenticator
}

// kinds are the brokers that Main runs the tests against: each transport on each
// engine, durable and in memory, some that answer late, and both record layers of TLS.
var kinds = []kind{
	{what: "durability = commit"},
	{what: "everything in memory", memory: true},
	{what: "a disk and an authenticator that answer late", engine: "epoll", late: true},
	{what: "a disk and an authenticator that answer late, and goroutines", engine: "goroutine", late: true},
	{what: "TLS", engine: "epoll", transport: secure, memory: true},
	{what: "TLS, its compact record layer and a disk", engine: "epoll", transport: secure, compact: true},
	{what: "TLS, goroutines and what answers late", engine: "goroutine", transport: secure, late: true},
	{what: "WebSocket", engine: "epoll", transport: web, memory: true},
	{what: "WebSocket and goroutines", engine: "goroutine", transport: web, memory: true},
	{what: "WebSocket over TLS, the compact record layer and what answers late", engine: "epoll", transport: secureWeb, compact: true, late: true},
	{what: "WebSocket over TLS and goroutines", engine: "goroutine", transport: secureWeb, memory: true},
}

// served is the transport of the server of Main.
var served string

// Main runs the tests of a package against each kind of broker, each in a
// process of its own and on a free port; or once against the server at the address
// in the variable MQTT_ADDR, to see what others make of the tests: host:port, with
// tls://, ws:// or wss:// before it if it isn't TCP. It returns the exit
// code. address is told the address before the tests begin.
func Main(m *testing.M, address *string) (code int) {
	flag.Parse()
	if err := flag.Set("test.parallel", parallel); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if *address = os.Getenv("MQTT_ADDR"); *address != "" {
		return m.Run()
	}
	if flag.Lookup("test.list").Value.String() != "" {
		return m.Run()
	}
	if i, err := strconv.Atoi(os.Getenv(kindVariable)); err == nil {
		return runAgainst(m, address, kinds[i])
	}
	return runAll(m, address)
}

// runAll runs the tests against the first kind here, so that go test sees which files
// they read, and against the others in processes of their own.
func runAll(m *testing.M, address *string) (code int) {
	type result struct {
		output []byte
		err    error
	}
	results := make([]chan result, len(kinds))
	places := make(chan struct{}, together-1)
	for i := 1; i < len(kinds); i++ {
		results[i] = make(chan result, 1)
		go func() {
			places <- struct{}{}
			output, err := command(i).CombinedOutput()
			<-places
			results[i] <- result{output, err}
		}()
	}
	code = runAgainst(m, address, kinds[0])
	for _, r := range results[1:] {
		r := <-r
		os.Stdout.Write(r.output)
		if r.err != nil {
			fmt.Fprintln(os.Stderr, r.err)
			code = cmp.Or(code, 1)
		}
	}
	return code
}

// ofProcess are the flags that name files which a process writes.
var ofProcess = regexp.MustCompile(`^-test\.(testlogfile|.*profile|trace|gocoverdir)=`)

// command is this program, for one kind.
func command(kind int) *exec.Cmd {
	args := slices.DeleteFunc(slices.Clone(os.Args[1:]), ofProcess.MatchString)
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d", kindVariable, kind))
	return cmd
}

// runAgainst runs the tests against one broker.
func runAgainst(m *testing.M, address *string, k kind) (code int) {
	fmt.Println("== a broker with", k.what)
	dir, err := os.MkdirTemp("", "midge-conformance-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	s, err := start(tuning(), k, dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "start the broker:", err)
		return 1
	}
	*address, served = s.address, k.transport
	code = m.Run()
	if k.compact && !s.layers.compacted() && flag.Lookup("test.run").Value.String() == "" {
		fmt.Fprintln(os.Stderr, "no connection had the compact record layer")
		code = 1
	}
	if err := s.stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop the broker:", err)
		code = cmp.Or(code, 1)
	}
	return code
}
