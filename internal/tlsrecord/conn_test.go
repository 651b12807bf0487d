package tlsrecord

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	"testing"
	"time"
)

// certificate makes one that is its own authority.
func certificate(tb testing.TB) tls.Certificate {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"broker.test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// suites are all that TLS 1.3 has here.
var suites = []uint16{tls.TLS_AES_128_GCM_SHA256, tls.TLS_AES_256_GCM_SHA384, tls.TLS_CHACHA20_POLY1305_SHA256}

// invented makes a connection from secrets that nobody has agreed on.
func invented(tb testing.TB, id uint16) (*Conn, *peer) {
	tb.Helper()
	suite, err := suiteOf(id)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Secrets{client: bytes.Repeat([]byte{1}, suite.secretBytes), server: bytes.Repeat([]byte{2}, suite.secretBytes)}
	c, err := New(id, s)
	if err != nil {
		tb.Fatal(err)
	}
	return c, newPeer(tb, id, s)
}

func (c *Conn) open(record []byte) ([]byte, error) {
	return c.Open(make([]byte, max(len(record), 1)), record)
}

// TestHandshakes takes over after all kinds of handshakes, which have sent none or one
// session ticket at different times.
func TestHandshakes(t *testing.T) {
	pair := certificate(t)
	for name, tt := range map[string]*struct {
		server, client tls.Config
		times          int
	}{
		"ticket in the first flight":    {},
		"no tickets":                    {server: tls.Config{SessionTicketsDisabled: true}},
		"a client that wants no ticket": {client: tls.Config{SessionTicketsDisabled: true}},
		"client certificate, ticket after Finished": {
			server: tls.Config{ClientAuth: tls.RequireAnyClientCert}, client: tls.Config{Certificates: []tls.Certificate{pair}},
		},
		"client certificate, no tickets": {
			server: tls.Config{ClientAuth: tls.RequireAnyClientCert, SessionTicketsDisabled: true}, client: tls.Config{Certificates: []tls.Certificate{pair}},
		},
		"HelloRetryRequest": {server: tls.Config{CurvePreferences: []tls.CurveID{tls.CurveP384}}},
		"resumed":           {client: tls.Config{ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "broker.test"}, times: 2},
	} {
		t.Run(name, func(t *testing.T) {
			tt.server.Certificates, tt.client.InsecureSkipVerify = []tls.Certificate{pair}, true
			for range max(tt.times, 1) {
				c := connect(t, &tt.server, &tt.client)
				conn, err := New(c.suite, c.secrets)
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range []int{1, 100, 16384, 16385, 100_000} {
					data := bytes.Repeat([]byte{byte(n)}, n)
					if got := c.reads(t, conn.Seal(nil, data), n); !bytes.Equal(got, data) {
						t.Fatalf("%d bytes came back changed", n)
					}
				}
				p := newPeer(t, c.suite, c.secrets)
				if got, err := conn.open(p.record(applicationData, []byte("hello"), 7)); err != nil || string(got) != "hello" {
					t.Errorf("the client's data are %q, %v", got, err)
				}
			}
		})
	}
}

// TestSuites exchanges data and changes keys with each suite, in both directions, with
// ciphers that were dropped between.
func TestSuites(t *testing.T) {
	for _, id := range suites {
		t.Run(tls.CipherSuiteName(id), func(t *testing.T) {
			c, p := invented(t, id)
			for i := range 20 {
				data := bytes.Repeat([]byte{byte(i)}, 1000*i+1)
				if got, err := c.open(p.record(applicationData, data[:min(len(data), MaxContent)], 0)); err != nil || !bytes.Equal(got, data[:min(len(data), MaxContent)]) {
					t.Fatalf("step %d: %d bytes, %v", i, len(got), err)
				}
				sealed := c.Seal(nil, data)
				if len(sealed) > SealedBytes(len(data)) {
					t.Errorf("%d bytes are sealed in %d, more than %d", len(data), len(sealed), SealedBytes(len(data)))
				}
				if got, _, err := p.take(sealed); err != nil || !bytes.Equal(got, data) {
					t.Fatalf("step %d: the client gets %d bytes, %v", i, len(got), err)
				}
				if i%3 == 1 {
					c.Forget()
				}
				if i%2 == 0 {
					if _, err := c.open(p.keyUpdate(byte(i/2) % 2)); err != nil {
						t.Fatal(err)
					}
				}
			}
			if p.updates != 5 {
				t.Errorf("%d KeyUpdates for 5 requests", p.updates)
			}
		})
	}
}

// TestViolations breaks the rules of RFC 8446 one by one.
func TestViolations(t *testing.T) {
	one := []byte("x")
	for name, tt := range map[string]struct {
		alert Alert
		send  func(p *peer) [][]byte
	}{
		"5.1/an empty handshake record": {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(handshake, nil, 0)} }},
		"5.1/data within a handshake message": {UnexpectedMessage, func(p *peer) [][]byte {
			return [][]byte{p.record(handshake, []byte{keyUpdate, 0}, 0), p.record(applicationData, one, 0)}
		}},
		"5.1/an alert within a handshake message": {UnexpectedMessage, func(p *peer) [][]byte {
			return [][]byte{p.record(handshake, []byte{keyUpdate}, 0), p.record(alert, []byte{1, 0}, 0)}
		}},
		"5.1/a KeyUpdate and more in its record": {UnexpectedMessage, func(p *peer) [][]byte {
			return [][]byte{p.record(handshake, []byte{keyUpdate, 0, 0, 1, 0, keyUpdate}, 0)}
		}},
		"5.1/2^14+1 bytes":                {RecordOverflow, func(p *peer) [][]byte { return [][]byte{p.record(applicationData, make([]byte, MaxContent+1), 0)} }},
		"5.1/padding beyond 2^14+1 bytes": {RecordOverflow, func(p *peer) [][]byte { return [][]byte{p.record(applicationData, make([]byte, MaxContent), 1)} }},
		"5.2/a length above 2^14+256":     {RecordOverflow, func(p *peer) [][]byte { return [][]byte{{23, 3, 3, 0x41, 1}} }},
		"5.2/a header of another version": {ProtocolVersion, func(p *peer) [][]byte { b := p.record(applicationData, one, 0); b[2] = 4; return [][]byte{b} }},
		"5.2/a tag that is cut":           {BadRecordMAC, func(p *peer) [][]byte { return [][]byte{{23, 3, 3, 0, 3, 1, 2, 3}} }},
		"5.2/a bit that has changed":      {BadRecordMAC, func(p *peer) [][]byte { b := p.record(applicationData, one, 0); b[5] ^= 1; return [][]byte{b} }},
		"5.2/a record that comes again":   {BadRecordMAC, func(p *peer) [][]byte { b := p.record(applicationData, one, 0); return [][]byte{b, b} }},
		"5.2/a record that is left out": {BadRecordMAC, func(p *peer) [][]byte {
			p.record(applicationData, one, 0)
			return [][]byte{p.record(applicationData, one, 0)}
		}},
		"5/change_cipher_spec after Finished": {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{{20, 3, 3, 0, 1, 1}} }},
		"5/an alert that is not encrypted":    {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{{21, 3, 3, 0, 2, 1, 0}} }},
		"5/a type that is not known":          {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(99, one, 0)} }},
		"5/change_cipher_spec, encrypted":     {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(20, []byte{1}, 0)} }},
		"5.4/zeros only":                      {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.protect(make([]byte, 9))} }},
		"5.4/nothing":                         {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.protect(nil)} }},
		"6/an alert of one byte":              {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(alert, []byte{1}, 0)} }},
		"4.6.3/a KeyUpdate that asks for 2":   {IllegalParameter, func(p *peer) [][]byte { return [][]byte{p.record(handshake, []byte{keyUpdate, 0, 0, 1, 2}, 0)} }},
		"4.6.3/a KeyUpdate of two bytes":      {DecodeError, func(p *peer) [][]byte { return [][]byte{p.record(handshake, []byte{keyUpdate, 0, 0, 2, 0, 0}, 0)} }},
		"4.6.3/the old key after a KeyUpdate": {BadRecordMAC, func(p *peer) [][]byte {
			old := *p
			b := p.keyUpdate(0)
			old.out.sequence++
			return [][]byte{b, old.record(applicationData, one, 0)}
		}},
		"4.6.1/a session ticket from a client":      {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(handshake, []byte{4, 0, 0, 0}, 0)} }},
		"4.6.2/a certificate that nobody asked for": {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(handshake, []byte{11, 0, 0, 0}, 0)} }},
		"4.1.2/a ClientHello after the handshake":   {UnexpectedMessage, func(p *peer) [][]byte { return [][]byte{p.record(handshake, []byte{1, 0, 0, 0}, 0)} }},
		"17 empty records": {UnexpectedMessage, func(p *peer) (all [][]byte) {
			return repeat(17, func() []byte { return p.record(applicationData, nil, 3) })
		}},
		"17 KeyUpdates": {UnexpectedMessage, func(p *peer) (all [][]byte) { return repeat(17, func() []byte { return p.keyUpdate(1) }) }},
		"17 times user_canceled": {UnexpectedMessage, func(p *peer) (all [][]byte) {
			return repeat(17, func() []byte { return p.record(alert, []byte{1, 90}, 0) })
		}},
	} {
		t.Run(name, func(t *testing.T) {
			c, p := invented(t, tls.TLS_AES_128_GCM_SHA256)
			all := tt.send(p)
			var err error
			for i, b := range all {
				if err != nil {
					t.Fatalf("record %d of %d: %v", i, len(all), err)
				}
				_, err = c.open(b)
			}
			v, ok := errors.AsType[*Violation](err)
			if !ok || v.Alert != tt.alert {
				t.Fatalf("the error is %v, want %v", err, tt.alert)
			}
			if _, last, err := p.take(c.AppendAlert(nil, v.Alert)); err != nil || last != int(tt.alert) {
				t.Errorf("the client is told %d, %v", last, err)
			}
		})
	}
}

func repeat(n int, f func() []byte) (all [][]byte) {
	for range n {
		all = append(all, f())
	}
	return all
}

// TestAllowed does what may seem strange and is right.
func TestAllowed(t *testing.T) {
	c, p := invented(t, tls.TLS_AES_128_GCM_SHA256)
	want := func(record []byte, data string) {
		t.Helper()
		if got, err := c.open(record); err != nil || string(got) != data {
			t.Errorf("Open = %q, %v; want %q", got, err, data)
		}
	}
	full := bytes.Repeat([]byte("y"), MaxContent)
	want(p.record(applicationData, full, 0), string(full))
	want(p.record(applicationData, []byte("x"), MaxContent-1), "x") // padding as long as may be
	for _, b := range []byte{keyUpdate, 0, 0, 1, 1} {               // a KeyUpdate in five records
		want(p.record(handshake, []byte{b}, 0), "")
	}
	p.out.update()
	for range 5 { // data between them
		for range maxUseless - 1 {
			want(p.record(applicationData, nil, 0), "")
		}
		want(p.record(applicationData, []byte("z"), 0), "z")
	}
	want(p.record(alert, []byte{2, 90}, 0), "") // user_canceled
	if _, err := c.open(p.record(alert, []byte{2, 0}, 0)); err != io.EOF {
		t.Errorf("close_notify of level fatal is %v", err)
	}
	_, err := c.open(p.record(alert, []byte{1, 40}, 0))
	if f, ok := errors.AsType[*Fatal](err); !ok || f.Alert != 40 {
		t.Errorf("handshake_failure is %v", err)
	}
}

// TestRequests asks for a KeyUpdate many times, which is answered once, with the next data.
func TestRequests(t *testing.T) {
	c, p := invented(t, tls.TLS_AES_128_GCM_SHA256)
	for range maxUseless {
		if _, err := c.open(p.keyUpdate(1)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if got, _, err := p.take(c.Seal(nil, []byte("answer"))); err != nil || string(got) != "answer" {
			t.Errorf("the client gets %q, %v", got, err)
		}
	}
	if p.updates != 1 || p.asked {
		t.Errorf("the client got %d KeyUpdates; one that asks: %v", p.updates, p.asked)
	}
}

// TestLimit has the key change by itself when it has protected as much as it may. A client of crypto/tls
// goes on.
func TestLimit(t *testing.T) {
	c := connect(t, &tls.Config{Certificates: []tls.Certificate{certificate(t)}}, &tls.Config{InsecureSkipVerify: true})
	conn, err := New(c.suite, c.secrets)
	if err != nil {
		t.Fatal(err)
	}
	before := conn.out.secret
	conn.out.protected = gcmLimit - 100_000
	for range 20 {
		data := bytes.Repeat([]byte("z"), 10_000)
		if got := c.reads(t, conn.Seal(nil, data), len(data)); !bytes.Equal(got, data) {
			t.Fatal("data have changed")
		}
	}
	if conn.out.secret == before || conn.out.protected > 110_000 {
		t.Errorf("the key is the old one: it has protected %d bytes", conn.out.protected)
	}
}

// TestRefused asks for what can't be.
func TestRefused(t *testing.T) {
	if _, err := New(tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, &Secrets{}); err == nil {
		t.Error("a suite of TLS 1.2 is taken")
	}
	if _, err := New(tls.TLS_AES_128_GCM_SHA256, &Secrets{}); err == nil {
		t.Error("a handshake that has told nothing is taken")
	}
}

// TestAllocations counts what a record allocates.
func TestAllocations(t *testing.T) {
	c, p := invented(t, tls.TLS_AES_128_GCM_SHA256)
	dst, data := make([]byte, 1024), make([]byte, 100)
	var records [][]byte
	for range 200 {
		records = append(records, p.record(applicationData, data, 0))
	}
	i := 0
	if n := testing.AllocsPerRun(100, func() {
		c.Open(dst, records[i])
		c.Seal(dst[:0], data)
		i++
	}); n != 0 {
		t.Errorf("a record each way allocates %v times", n)
	}
}
