//go:build integration && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"midge/internal/packet"
)

// TestSlowHook has an HTTP service hold back its answers about some clients and some topics. Others
// are served meanwhile, and those are when the answers come.
func TestSlowHook(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		release := make(chan struct{})
		asked := make(chan string, 1000)
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var q struct {
				ClientID string `json:"client_id"`
				Topic    string `json:"topic"`
			}
			if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
				t.Error(err)
			}
			if strings.HasPrefix(q.ClientID, "slow") || strings.HasPrefix(q.Topic, "slow") {
				asked <- q.ClientID
				<-release
			}
			result := "allow"
			if strings.HasSuffix(q.ClientID, "refused") {
				result = "deny"
			}
			fmt.Fprintf(w, `{"result":%q}`, result)
		}))
		defer service.Close()
		released := false
		defer func() {
			if !released {
				close(release)
			}
		}()
		p := serve(t, "--set", engine, "--set", "hook.auth_url="+service.URL, "--set", "hook.acl_url="+service.URL, "--set", "hook.concurrency=8",
			"--set", "hook.timeout=1m", "--set", "limits.connect_timeout=5m")
		pr := newPair(t, p, "p")
		pr.served(10)

		publisher := connect(t, p, packet.V5, "publisher", nil)
		publisher.subscribe("fast", 0)
		publisher.send((&packet.Publish{Topic: []byte("slow"), QoS: 1, ID: 1}).Append(nil, packet.V5))
		publisher.send((&packet.Publish{Topic: []byte("fast"), Payload: []byte("behind")}).Append(nil, packet.V5))
		<-asked
		var slow []*client
		for i := range 20 {
			id := fmt.Sprintf("slow%d", i)
			if i%2 == 1 {
				id += "refused"
			}
			c := &client{t: t, conn: dial(t, p), v: packet.V5}
			c.send((&packet.Connect{Version: packet.V5, CleanStart: true, ClientID: []byte(id)}).Append(nil))
			slow = append(slow, c)
		}
		for range 8 {
			<-asked
		}
		pr.served(100)

		released = true
		close(release)
		for i, c := range slow {
			var ack packet.Connack
			c.expect(packet.CONNACK, func(first byte, body []byte) error { return ack.Decode(packet.V5, first, body) })
			if ack.Code.Failed() != (i%2 == 1) {
				t.Errorf("client %d: %v", i, ack.Code)
			}
		}
		publisher.expect(packet.PUBACK, func(byte, []byte) error { return nil })
		if _, got := publisher.receive(); got != "behind" {
			t.Errorf("received %q", got)
		}
	})
}
