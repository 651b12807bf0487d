//go:build integration && unix

package e2e

import (
	"crypto/tls"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"
	"time"

	"midge/internal/program"
)

// serveTLS starts a broker with a listener of TCP and one of TLS.
func serveTLS(t *testing.T, args ...string) *broker {
	t.Helper()
	dir := t.TempDir()
	if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
		t.Fatal(errs)
	}
	return serveIn(t, dir, append([]string{
		"--memory", "--listen", "tls://127.0.0.1:0",
		"--set", "tls.certificate=certs/server.pem", "--set", "tls.key=certs/server-key.pem",
	}, args...)...)
}

// TestTLSStorm has a thousand clients connect over TLS as fast as the broker lets them. Those
// who are connected already are served meanwhile, and often: a broker that does handshakes
// before anything else doesn't pass. What is counted does not depend on how fast the machine
// is; bench/plans/storm.toml measures, with ten times as many.
func TestTLSStorm(t *testing.T) {
	const clients, atLeast = 1000, 50
	eachEngine(t, func(t *testing.T, engine string) {
		p := serveTLS(t, "--set", engine, "--set", "log.connections=true")
		pr := newPair(t, p, "p")
		pr.served(10)
		storm, err := program.Start(exec.Command(binary, "bench", "conn-tls-1K-100K", "--address", "mqtts://127.0.0.1:"+p.portOf("tls"),
			"--insecure", "--warm-up", "0s", "--duration", "10m"))
		if err != nil {
			t.Fatal(err)
		}
		defer storm.Kill()
		connected := func() int { return strings.Count(p.Log(), `msg="client connected"`) }
		served, longest := 0, time.Duration(0)
		for first := connected(); connected()-first < clients; served++ {
			select {
			case <-storm.Done():
				t.Fatalf("the storm ended: %v", storm.Cmd.ProcessState)
			default:
			}
			begin := time.Now()
			pr.served(1)
			longest = max(longest, time.Since(begin))
		}
		t.Logf("%d round trips while %d clients connected, the longest took %v", served, clients, longest)
		if served < atLeast {
			t.Errorf("others were served %d times while %d clients connected over TLS, want %d at least", served, clients, atLeast)
		}
	})
}

// TestSlowHandshakes has clients send a handshake a byte at a time. They delay nobody, and
// limits.connect_timeout ends them.
func TestSlowHandshakes(t *testing.T) {
	ours, theirs := net.Pipe()
	go tls.Client(theirs, &tls.Config{ServerName: "localhost"}).Handshake() // ends with the pipe
	hello := make([]byte, 4<<10)
	n, err := ours.Read(hello)
	if err != nil {
		t.Fatal(err)
	}
	ours.Close()
	hello = hello[:n]
	eachEngine(t, func(t *testing.T, engine string) {
		p := serveTLS(t, "--set", engine, "--set", "limits.connect_timeout=1s")
		pr := newPair(t, p, "p")
		var slow []net.Conn
		for range 100 {
			c, err := net.Dial("tcp", "127.0.0.1:"+p.portOf("tls"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			slow = append(slow, c)
		}
		for _, b := range hello[:50] { // of some 250, or 1,500 with ML-KEM
			for _, c := range slow {
				c.Write([]byte{b}) // the broker may have closed it meanwhile
			}
			pr.served(1)
		}
		for _, c := range slow {
			c.SetReadDeadline(time.Now().Add(patience))
			if _, err := io.Copy(io.Discard, c); err != nil && !ended(err) {
				t.Fatalf("a handshake that doesn't end stays open: %v", err)
			}
		}
		pr.served(10)
	})
}
