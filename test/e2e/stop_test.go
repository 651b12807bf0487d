//go:build integration && unix

package e2e

import (
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
)

// TestStopUnderLoad proves that a stop while publishers publish commits what
// they were told is safe, and that the log says of no trouble.
func TestStopUnderLoad(t *testing.T) {
	const publishers, most = 8, 20_000
	for round := range 3 {
		dir := t.TempDir()
		p := serveIn(t, dir)
		away := connect(t, p, packet.V5, "away", lasting(3600))
		for i := range publishers {
			away.subscribe(fmt.Sprint("load/", i), 1)
		}
		away.conn.Close()

		var acknowledged [publishers]int
		var started, all sync.WaitGroup
		started.Add(publishers)
		for i := range publishers {
			c := connect(t, p, packet.V5, fmt.Sprint("p", i), nil)
			all.Go(func() {
				for n := 1; n <= most; n++ {
					m := packet.Publish{QoS: 1, ID: packet.ID(n), Topic: []byte(fmt.Sprint("load/", i)), Payload: []byte(fmt.Sprint(n))}
					c.conn.SetWriteDeadline(time.Now().Add(patience))
					if _, err := c.conn.Write(m.Append(nil, c.v)); err != nil {
						return
					}
					first, _, err := c.next()
					if err != nil || packet.TypeOf(first) != packet.PUBACK {
						return
					}
					if acknowledged[i] = n; n == 20*(round+1) {
						started.Done()
					}
				}
				t.Error("the broker does not stop")
			})
		}
		started.Wait()
		p.signal(syscall.SIGTERM)
		if status := p.wait(patience); status != 0 {
			t.Errorf("status %d\n%s", status, p.Log())
		}
		p.quietLog()
		all.Wait()

		p = serveIn(t, dir)
		away = connect(t, p, packet.V5, "away", lasting(3600))
		var got [publishers]int
		for got != acknowledged {
			topic, payload := away.receive()
			var i, n int
			if _, err := fmt.Sscanf(topic+" "+payload, "load/%d %d", &i, &n); err != nil {
				t.Fatal(err)
			}
			if n != got[i]+1 {
				t.Fatalf("%s: message %d after %d", topic, n, got[i])
			}
			// What was not acknowledged may be there too.
			if got[i] = n; n > acknowledged[i] {
				acknowledged[i] = n
			}
		}
		p.Kill()
	}
}
