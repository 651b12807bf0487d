package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"midge/internal/app/apptest"
	"midge/internal/cli/command"
	"midge/internal/config"
)

// serveTest runs a broker until the test ends, and returns the flags that
// connect to it.
func serveTest(t *testing.T, settings ...config.Given) (flags string) {
	t.Helper()
	host, port, err := net.SplitHostPort(apptest.Serve(t, settings...))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("-h %s -p %s ", host, port)
}

// watched is an output that tells when a text has been written to it.
type watched struct {
	mu    sync.Mutex
	text  bytes.Buffer
	wrote chan struct{}
}

func newWatched() *watched { return &watched{wrote: make(chan struct{}, 1)} }

func (w *watched) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case w.wrote <- struct{}{}:
	default:
	}
	return w.text.Write(b)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.text.String()
}

// await returns when the output has the text.
func (w *watched) await(t *testing.T, text string) {
	t.Helper()
	late := time.After(5 * time.Minute)
	for !strings.Contains(w.String(), text) {
		select {
		case <-w.wrote:
		case <-late:
			t.Fatalf("no %q in\n%s", text, w)
		}
	}
}

// tool is a command that runs.
type tool struct {
	out, errs *watched
	stop      context.CancelFunc // as SIGINT does
	status    chan int
}

// commandLine splits a command line. Single quotes keep words together.
func commandLine(line string) (all []string) {
	for i, part := range strings.Split(line, "'") {
		if i%2 == 1 {
			all = append(all, part)
			continue
		}
		all = append(all, strings.Fields(part)...)
	}
	return all
}

func start(t *testing.T, stdin io.Reader, line string) *tool {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	c := &tool{out: newWatched(), errs: newWatched(), stop: cancel, status: make(chan int, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.status <- Run(ctx, command.World{Args: commandLine(line), Stdin: stdin, Stdout: c.out, Stderr: c.errs})
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return c
}

// end waits for the status.
func (c *tool) end(t *testing.T) int {
	t.Helper()
	select {
	case status := <-c.status:
		return status
	case <-time.After(10 * time.Minute):
		t.Fatalf("it does not end:\n%s", c.errs)
		return -1
	}
}

// do runs a command to its end.
func do(t *testing.T, stdin, line string) (status int, out, errs string) {
	t.Helper()
	c := start(t, strings.NewReader(stdin), line)
	status = c.end(t)
	return status, c.out.String(), c.errs.String()
}

// must runs a command that has to succeed in silence.
func must(t *testing.T, stdin, line string) (out string) {
	t.Helper()
	status, out, errs := do(t, stdin, line)
	if status != command.Done || errs != "" {
		t.Fatalf("%s: status %d\n%s", line, status, errs)
	}
	return out
}

var mqttVersions = []string{"-V 31 ", "-V 311 ", "-V 5 "}

// TestPubSources proves where payloads come from: sub prints them one by one.
func TestPubSources(t *testing.T) {
	at := serveTest(t)
	file := filepath.Join(t.TempDir(), "payload")
	if err := os.WriteFile(file, []byte("of\na file\x00\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, v := range mqttVersions {
		for _, q := range []string{"-q 0 ", "-q 1 ", "-q 2 "} {
			for _, tt := range []struct {
				args, stdin string
				want        []string
			}{
				{"-m hello", "", []string{"hello"}},
				{"-m ''", "", []string{""}},
				{"-n", "", []string{""}},
				{"-f " + file, "", []string{"of\na file\x00\n"}},
				{"-s", "all\nof it\n", []string{"all\nof it\n"}},
				{"-f -", "all", []string{"all"}},
				{"-l", "one\n\ntwo\r\nthree", []string{"one", "", "two\r", "three"}},
				{"-m x --repeat 3", "", []string{"x", "x", "x"}},
				{"-m x --repeat 2 --repeat-delay 0.001", "", []string{"x", "x"}},
			} {
				t.Run(v+q+tt.args, func(t *testing.T) {
					s := start(t, nil, "sub "+at+v+q+"-t t -d -F %p|\\0 -N -C "+fmt.Sprint(len(tt.want)))
					s.errs.await(t, "subscribed to t: QoS")
					if out := must(t, tt.stdin, "pub "+at+v+q+"-t t "+tt.args); out != "" {
						t.Errorf("pub prints %q", out)
					}
					want := strings.Join(tt.want, "|\x00") + "|\x00"
					if status := s.end(t); status != command.Done || s.out.String() != want {
						t.Errorf("status %d, %q, want %q", status, s.out, want)
					}
				})
			}
		}
	}
}

// TestPubLines proves that many lines keep their order through the window.
func TestPubLines(t *testing.T) {
	at := serveTest(t, config.Given{Key: "session.queued_messages", Values: []string{"100000"}})
	var lines strings.Builder
	const count = 5000
	for i := range count {
		fmt.Fprintln(&lines, i)
	}
	for _, v := range mqttVersions {
		for _, q := range []string{"-q 0 ", "-q 1 ", "-q 2 -M 3 "} {
			s := start(t, nil, "sub "+at+v+strings.ReplaceAll(q, "-M 3", "")+"-t t -d --quiet -C 5000")
			s.errs.await(t, "subscribed to t: QoS")
			if q == "-q 0 " { // the broker may drop what a slow subscriber leaves behind
				s.stop()
				must(t, lines.String(), "pub "+at+v+q+"-t u -l")
				continue
			}
			must(t, lines.String(), "pub "+at+v+q+"-t t -l")
			if status := s.end(t); status != command.Done || s.out.String() != lines.String() {
				t.Errorf("%s%s: status %d, %d bytes, want %d", v, q, status, len(s.out.String()), lines.Len())
			}
		}
	}
}

// TestSubSelection proves which messages sub prints, and when it ends.
func TestSubSelection(t *testing.T) {
	at := serveTest(t)
	for topic, payload := range map[string]string{"r/a": "1", "r/b": "2", "r/c/d": "3"} {
		must(t, "", "pub "+at+"-r -q 1 -t "+topic+" -m "+payload)
	}
	for _, tt := range []struct {
		args, want string
		status     int
	}{
		{"-t r/a -C 1", "1\n", command.Done},
		{"-t r/a -C 1 -v", "r/a 1\n", command.Done},
		{"-t r/a -t r/b -C 2 -N", "12", command.Done},
		{"-t r/# -T r/+ -C 1", "3\n", command.Done},
		{"-t r/# -T r/a -T r/c/# -C 1", "2\n", command.Done},
		{"-t r/a -E", "", command.Done},
		{"-U r/a", "", command.TimedOut},
		{"-t r/a", "1\n", command.TimedOut},
		{"-t r/a -R", "", command.TimedOut},
		{"-t r/a --retain-handling 2", "", command.TimedOut},
		{"-t r/a --random-filter 0.0000001", "", command.TimedOut},
		{"-t r/a -C 1 -F '%t|%p|%l|%q|%r|%x|%S|%-3m|\\t' --subscription-id 5", "r/a|1|1|0|1|31|5|0  |\t\n", command.Done},
		{"-t r/a -C 1 -F %S -D subscribe subscription-identifier 6", "6\n", command.Done},
	} {
		t.Run(tt.args, func(t *testing.T) {
			if tt.status == command.TimedOut {
				tt.args += " -W 1"
			}
			status, out, errs := do(t, "", "sub "+at+tt.args)
			if status != tt.status || out != tt.want && tt.args != "-t r/a -E" || (errs == "midge: timed out\n") != (status == command.TimedOut) {
				t.Errorf("status %d, %q, %s", status, out, errs)
			}
		})
	}
}

// TestRemoveRetained proves that the command of the help empties a broker.
func TestRemoveRetained(t *testing.T) {
	at := serveTest(t)
	for _, v := range mqttVersions {
		for i := range 20 {
			must(t, "", fmt.Sprintf("pub %s-r -q 1 -t r/%d -m x", at, i))
		}
		s := start(t, nil, "sub "+at+v+"-t # --remove-retained --retained-only -v -d")
		// Its own messages come back to it. They are no reason to end.
		for i := range 20 {
			s.errs.await(t, fmt.Sprintf("received PUBLISH to r/%d (QoS 0, retain 0, 0 bytes", i))
		}
		must(t, "", "pub "+at+"-t end -m x")
		if status := s.end(t); status != command.Done || strings.Count(s.out.String(), "\n") != 20 {
			t.Errorf("status %d\n%s", status, s.out)
		}
		if status, out, _ := do(t, "", "sub "+at+v+"-t # -W 1"); status != command.TimedOut || out != "" {
			t.Errorf("%sleft: %s", v, out)
		}
	}
}

// TestSubSession proves that a session made with -E collects what -C takes in
// turns, and that nothing is lost or repeated.
func TestSubSession(t *testing.T) {
	at := serveTest(t)
	for _, v := range mqttVersions {
		session := "sub " + at + v + "-i s -c -q 1 -t t "
		must(t, "", session+"-E")
		must(t, "1\n2\n3\n4\n5\n6\n", "pub "+at+"-q 1 -t t -l")
		for _, want := range []string{"1\n2\n", "3\n", "4\n5\n6\n"} {
			if out := must(t, "", session+"-C "+fmt.Sprint(strings.Count(want, "\n"))); out != want {
				t.Errorf("%s%q, want %q", v, out, want)
			}
		}
		must(t, "", "sub "+at+v+"-i s -U t -E") // ends the session
	}
}

// TestPubSubJSON proves that each line is an object with what was sent.
func TestPubSubJSON(t *testing.T) {
	at := serveTest(t)
	s := start(t, nil, "sub "+at+"-t t -q 1 -d --json -C 2")
	s.errs.await(t, "subscribed to t: QoS 1")
	answers := must(t, "", "pub "+at+"-t t -q 1 --json -m '<\"é>' -D publish content-type text -D publish user-property k v -D publish user-property k w --repeat 2")
	for i, line := range strings.Split(strings.TrimSpace(answers), "\n") {
		if want := `{"topic":"t","qos":1,"retain":0,"payloadlen":5,"reason":0,"reason_name":"success"}`; line != want {
			t.Errorf("answer %d: %s", i, line)
		}
	}
	if status := s.end(t); status != command.Done {
		t.Fatalf("status %d\n%s", status, s.errs)
	}
	must(t, "", "pub "+at+"-t t -r -q 1 -m text")
	if status, out, errs := do(t, "", "sub "+at+"-t t -F %J -C 1"); status != command.Done || out != "" || errs != "midge: the payload is not JSON, topic t\n" {
		t.Errorf("a payload that is no JSON: status %d, %s, %s", status, out, errs)
	}
	for line := range strings.Lines(s.out.String()) {
		const want = `"topic":"t","qos":1,"retain":0,"payloadlen":5,"mid":\d+,"properties":\{"content-type":"text","user-properties":\{"k":"v","k":"w"\}\},"payload":"<\\"é>"\}`
		if !json.Valid([]byte(line)) || !regexp.MustCompile(want).MatchString(line) {
			t.Errorf("%s", line)
		}
	}
}

// TestSubInterrupted proves how SIGINT ends the commands, and that sub does not
// fight one that took its name.
func TestSubInterrupted(t *testing.T) {
	at := serveTest(t)
	for _, v := range mqttVersions {
		s := start(t, nil, "sub "+at+v+"-i a -t t -d --will-topic w --will-payload gone")
		s.errs.await(t, "subscribed to t: QoS 0")
		s.stop()
		if status := s.end(t); status != command.Done || !strings.HasSuffix(s.errs.String(), "sending DISCONNECT\n") {
			t.Errorf("%sinterrupted: status %d\n%s", v, status, s.errs)
		}
	}
	s := start(t, nil, "sub "+at+"-i a -t t -d")
	s.errs.await(t, "subscribed to t: QoS 0")
	must(t, "", "sub "+at+"-i a -t t -E")
	if status := s.end(t); status != command.Failed || !strings.Contains(s.errs.String(), " lost: session taken over (0x8e)\n") {
		t.Errorf("taken over: status %d\n%s", status, s.errs)
	}
	reader, writer := io.Pipe()
	defer writer.Close()
	p := start(t, reader, "pub "+at+"-t t -l -q 1 --json")
	io.WriteString(writer, "one\n")
	p.out.await(t, `"reason":16`) // nobody subscribes
	p.stop()
	if status := p.end(t); status != command.Failed || p.errs.String() != "midge: interrupted; 1 of 1 messages sent were answered\n" {
		t.Errorf("pub interrupted: status %d\n%s", status, p.errs)
	}
}

// TestPubSubFail proves that failures have a status and words.
func TestPubSubFail(t *testing.T) {
	at := serveTest(t, config.Given{Key: "limits.packet_size", Values: []string{"1KiB"}})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, closed, _ := net.SplitHostPort(l.Addr().String())
	big := strings.Repeat("x", 2000)
	for _, tt := range []struct {
		args, stdin string
		status      int
		want        string
	}{
		{"pub -t t -m x -h 127.0.0.1 -p " + closed, "", command.Failed, "midge: connect to mqtt://127.0.0.1:" + closed + ": connection refused: nothing listens there\n"},
		{"sub -t t -h 127.0.0.1 -p " + closed, "", command.Failed, "midge: connect to mqtt://127.0.0.1:" + closed + ": connection refused: nothing listens there\n"},
		{"pub --quiet -t t -m x -h 127.0.0.1 -p " + closed, "", command.Failed, ""},
		{"pub " + at + "-t t -f no-such-file", "", command.Failed, "midge: read message: open no-such-file: "},
		{"pub " + at + "-t t -s", "", command.Failed, "midge: read message: standard input is empty; -n publishes an empty message\n"},
		{"pub " + at + "-t t -l -q 1", "a\n" + big + "\nb\n", command.Failed, "midge: publish to t: packet too large (0x95): the broker takes packets of up to 1024 bytes; 1 of 1 messages sent were answered\n"},
		{"pub " + at + "-t t -V 311 -s -q 1", big, command.Failed, "midge: publish to t: the broker closed the connection\n"},
		{"pub -t t", "", command.Misuse, "midge: say what to publish: -m TEXT, -f FILE, -l, -s or -n\nRun 'midge pub --help' for its flags and examples.\n"},
		{"pub -t t -m x -n", "", command.Misuse, "midge: -m and -n exclude each other\n"},
		{"pub -m x", "", command.Misuse, "midge: name the topic with -t\n"},
		{"pub -t a/# -m x", "", command.Misuse, "midge: -t a/#: wildcard"},
		{"pub -t a -m x -q 3", "", command.Misuse, "midge: -q 3: it is 0, 1 or 2\n"},
		{"pub -t a -l --repeat 2", "", command.Misuse, "midge: --repeat goes with one message, not with -l\n"},
		{"pub -t a -m x --repeat 0", "", command.Misuse, "midge: --repeat 0: it is 1 or more\n"},
		{"pub -t a -m x -M 0", "", command.Misuse, "midge: -M 0: it is 1 to 65535\n"},
		{"pub -t a -m x y", "", command.Misuse, "midge: \"y\" is too much: write midge pub {-t TOPIC | -L URL} {-m MESSAGE | -f FILE | -l | -s | -n} [flags]\n"},
		{"pub -t a -m x -p 70000", "", command.Misuse, "midge: -p 70000: it is a whole number from 0 to 65535\n"},
		{"pub -t a -m x --repeat-delay soon", "", command.Misuse, "midge: --repeat-delay soon: it is a number\n"},
		{"pub -t a -m x --connect-timeout 5", "", command.Misuse, "midge: --connect-timeout 5: it is a time, such as 500ms or 2m\n"},
		{"pub -t a -m x -r=maybe", "", command.Misuse, "midge: -r maybe: it is true or false\n"},
		{"pub -h", "", command.Misuse, "midge: -h needs a value: host\nRun 'midge pub --help' for its flags and examples.\n"},
		{"sub -t a -C 0", "", command.Misuse, "midge: -C 0: it is 1 or more\n"},
		{"sub -t a -W 0", "", command.Misuse, "midge: -W 0: it is 1 or more\n"},
		{"sub -t a -R --retained-only", "", command.Misuse, "midge: -R and --retained-only exclude each other\n"},
		{"sub -t a -D subscribe subscription-identifier 0", "", command.Misuse, "midge: -D subscribe subscription-identifier 0: it is 1 or more\n"},
		{"sub", "", command.Misuse, "midge: name a topic filter with -t\n"},
		{"sub -t a#", "", command.Misuse, "midge: -t a#: '#' at byte 1"},
		{"sub -t $share/x", "", command.Misuse, "midge: -t $share/x: shared subscription without a topic filter"},
		{"sub -t a -T +b", "", command.Misuse, "midge: -T +b: '+' at byte 0"},
		{"sub -t a -F %v", "", command.Misuse, "midge: -F: format %v: %v is none of"},
		{"sub -t a -V 311 --no-local", "", command.Misuse, "midge: --no-local needs MQTT 5.0"},
		{"sub -t a --random-filter 101", "", command.Misuse, "midge: --random-filter 101: it is a percentage\n"},
		{"sub -t a -v --json", "", command.Misuse, "midge: -v and --json exclude each other\n"},
	} {
		status, out, errs := do(t, tt.stdin, tt.args)
		if status != tt.status || !strings.HasPrefix(errs, tt.want) || (tt.want == "") != (errs == "") || out != "" {
			t.Errorf("%s: status %d\n%s%s\nwant status %d\n%s", tt.args, status, out, errs, tt.status, tt.want)
		}
	}
}

// TestSubReconnects proves that sub connects and subscribes again when its
// connection breaks, and that --no-reconnect ends it.
func TestSubReconnects(t *testing.T) {
	at, cut := breakable(t, serveTest(t))
	for _, v := range mqttVersions {
		s := start(t, nil, "sub "+at+v+"-t t -q 1 -d -C 2")
		s.errs.await(t, "subscribed to t: QoS 1")
		must(t, "", "pub "+at+"-t t -m one -q 1")
		s.out.await(t, "one\n")
		cut()
		s.errs.await(t, "lost: ")
		s.errs.await(t, "midge: connected again")
		_, after, _ := strings.Cut(s.errs.String(), "connected again")
		for !strings.Contains(after, "subscribed to t: QoS 1") {
			<-s.errs.wrote
			_, after, _ = strings.Cut(s.errs.String(), "connected again")
		}
		must(t, "", "pub "+at+"-t t -m two -q 1")
		if status := s.end(t); status != command.Done || s.out.String() != "one\ntwo\n" {
			t.Errorf("%sstatus %d\n%s\n%s", v, status, s.out, s.errs)
		}
	}
	s := start(t, nil, "sub "+at+"-t t -d --no-reconnect")
	s.errs.await(t, "subscribed to t: QoS 0")
	cut()
	if status := s.end(t); status != command.Failed || !strings.Contains(s.errs.String(), "lost: the broker closed the connection\n") {
		t.Errorf("--no-reconnect: status %d\n%s", status, s.errs)
	}
}

// breakable is a way to the broker whose connections can be cut.
func breakable(t *testing.T, at string) (flags string, cut func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := strings.Fields(at)
	var mu sync.Mutex
	var open []net.Conn
	cut = func() {
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
		open = nil
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", net.JoinHostPort(target[1], target[3]))
			if err != nil {
				t.Error(err)
				client.Close()
				continue
			}
			mu.Lock()
			open = append(open, client, server)
			mu.Unlock()
			for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
				all.Go(func() {
					io.Copy(way[0], way[1])
					way[0].Close()
					way[1].Close()
				})
			}
		}
	})
	t.Cleanup(func() {
		l.Close()
		cut()
		all.Wait()
	})
	host, port, _ := net.SplitHostPort(l.Addr().String())
	return fmt.Sprintf("-h %s -p %s ", host, port), cut
}
