package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"encoding/hex"
	"io"
	"os"
	"strings"
	"testing"
)

// vectors are those of testdata/rfc8448.txt, by their names.
func vectors(t *testing.T) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/rfc8448.txt")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for part := range strings.SplitSeq(string(text), "\n\n") {
		name, digits, _ := strings.Cut(part, "\n")
		if strings.HasPrefix(name, "#") {
			continue
		}
		b, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all[name] = b
	}
	return all
}

// TestRFC8448 does what the server of RFC 8448 section 3 did after its handshake.
func TestRFC8448(t *testing.T) {
	v := vectors(t)
	c, err := New(tls.TLS_AES_128_GCM_SHA256, &Secrets{
		client: v["client_application_traffic_secret_0"], server: v["server_application_traffic_secret_0"],
		sent: v["server NewSessionTicket record"],
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string][]byte{
		"client write_key": c.in.key[:16], "client write_iv": c.in.iv[:],
		"server write_key": c.out.key[:16], "server write_iv": c.out.iv[:],
	} {
		if !bytes.Equal(got, v[name]) {
			t.Errorf("%s is %x, want %x", name, got, v[name])
		}
	}
	payload := make([]byte, 50)
	for i := range payload {
		payload[i] = byte(i)
	}
	dst := make([]byte, MaxRecord)
	if got, err := c.Open(dst, v["client application_data record"]); err != nil || !bytes.Equal(got, payload) {
		t.Errorf("the client's data are %x, %v", got, err)
	}
	if got := c.Seal(nil, payload); !bytes.Equal(got, v["server application_data record"]) {
		t.Errorf("our data are\n%x, want\n%x", got, v["server application_data record"])
	}
	if got, err := c.Open(dst, v["client alert record"]); got != nil || err != io.EOF {
		t.Errorf("the client's alert is %x, %v", got, err)
	}
	if got := c.AppendAlert(nil, CloseNotify); !bytes.Equal(got, v["server alert record"]) {
		t.Errorf("our alert is %x, want %x", got, v["server alert record"])
	}
}
