package tlsrecord

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
)

// script makes records of a client from arbitrary bytes.
type script struct {
	b []byte
	p *peer
}

func (s *script) byte() byte {
	if len(s.b) == 0 {
		return 0
	}
	b := s.b[0]
	s.b = s.b[1:]
	return b
}

func (s *script) bytes(n int) []byte {
	n = min(n, len(s.b))
	b := s.b[:n]
	s.b = s.b[n:]
	return b
}

// next is the next record, and how RFC 8446 and crypto/tls differ on it: crypto/tls ignores what has
// to be refused.
func (s *script) next() (record []byte, lax bool) {
	switch op := s.byte(); op % 12 {
	default:
		return s.p.record(applicationData, s.bytes(int(op)/12), int(op)%3), false
	case 1: // a long one
		n := int(s.byte())<<8 | int(s.byte())
		return s.p.record(applicationData, make([]byte, n%(MaxContent+2)), 0), false
	case 2: // one that is padded
		return s.p.record(applicationData, s.bytes(3), int(s.byte())<<6+int(op)/12), false
	case 3:
		return s.p.keyUpdate(s.byte() % 2), false
	case 4: // a part of a handshake message, or several
		return s.p.record(handshake, s.bytes(int(s.byte())%12), 0), false
	case 5: // a part of a KeyUpdate
		whole := []byte{keyUpdate, 0, 0, 1, 1}
		from := int(op) / 12 % 6
		b := s.p.record(handshake, whole[from%5:], 0)
		if from == 5 {
			s.p.out.update()
		}
		return b, false
	case 6:
		return s.p.record(alert, s.bytes(int(s.byte())%4), 0), false
	case 7: // of any type
		typ := contentType(s.byte())
		return s.p.record(typ, s.bytes(int(s.byte())%8), 0), typ == 20
	case 8: // changed on its way
		b := s.p.record(applicationData, s.bytes(5), 0)
		at := int(s.byte()) % len(b)
		if at == 3 || at == 4 { // the length: it would be another record
			at = 5
		}
		b[at] ^= s.byte()
		return b, b[0] == 20
	case 9: // not encrypted
		b := []byte{s.byte(), 3, 3, 0, s.byte() % 32}
		return append(b, make([]byte, b[4])...), b[0] == 20
	case 10: // without a type
		n := int(op) / 12
		return s.p.protect(make([]byte, n)), n == 0
	case 11: // longer than may be
		n := MaxContent + 250 + int(s.byte())%12
		return append([]byte{23, 3, 3, byte(n >> 8), byte(n)}, make([]byte, n)...), false
	}
}

// told is the alert that a server of crypto/tls has sent with its error, -1 for none.
func told(t *testing.T, p *peer, b []byte) int {
	t.Helper()
	_, last, err := p.take(b)
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// FuzzRecords gives a Conn and a server of crypto/tls the same records, one by one, after the same handshake, and
// expects the same of both: data, errors, alerts and what they answer.
func FuzzRecords(f *testing.F) {
	for _, seed := range []string{
		"\x24abc\x24def", "\x01\x3f\xff\x01\x40\x01", "\x02abc\xff", "\x03\x01\x24abc\x03\x00\x24def",
		"\x04\x05\x18\x00\x00\x01\x00", "\x05\x11\x1d\x29\x35", "\x06\x02\x01\x00", "\x06\x02\x02\x28", "\x06\x02\x01\x5a\x24abc",
		"\x07\x16\x00", "\x07\x63\x01x", "\x08abcde\x06\x01", "\x09\x15\x02", "\x09\x14\x01", "\x0a", "\x16", "\x0b\x00", "\x0b\x0b",
		"\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01\x03\x01",
		"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
	} {
		f.Add([]byte(seed))
	}
	server := &tls.Config{Certificates: []tls.Certificate{certificate(f)}}
	client := &tls.Config{ServerName: "broker.test", InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
	f.Fuzz(func(t *testing.T, b []byte) {
		theirs := connect(t, server, client)
		ours, err := New(theirs.suite, theirs.secrets)
		if err != nil {
			t.Fatal(err)
		}
		p := newPeer(t, theirs.suite, theirs.secrets)
		p.in.skip(theirs.secrets.sent)
		q := *p // reads what we send; p what crypto/tls does
		s := &script{b: b, p: p}
		dst := make([]byte, 1<<16)
		part := false // crypto/tls may wait for the rest of a handshake message
		for i := 0; len(s.b) > 0 && i < 64; i++ {
			record, lax := s.next()
			theirs.got = bytes.Clone(record)
			want, wantErr := theirs.readAll()
			got, gotErr := ours.Open(dst, record)
			if lax && gotErr != nil {
				return
			}
			part = part || ours.got > 0
			v, refused := errors.AsType[*Violation](gotErr)
			early := refused && (part || strings.Contains(v.detail, "handshake message of type"))
			if early && wantErr == nil {
				return // we need not wait for all of it
			}
			if !bytes.Equal(got, want) || (gotErr == nil) != (wantErr == nil) || (gotErr == io.EOF) != (wantErr == io.EOF) {
				t.Fatalf("record %d, %x: we get %x, %v; crypto/tls %x, %v", i, record[:min(len(record), 40)], got, gotErr, want, wantErr)
			}
			if gotErr == nil {
				continue
			}
			if op, ok := errors.AsType[*net.OpError](wantErr); !refused && gotErr != io.EOF && !ok {
				t.Fatalf("record %d: we get %v, crypto/tls %v (%v)", i, gotErr, wantErr, op)
			}
			// crypto/tls has other words for what is not encrypted, and for messages that are wrong.
			if last := told(t, p, theirs.out); refused && last != int(v.Alert) && record[0] == byte(applicationData) && !early && v.Alert != IllegalParameter {
				t.Fatalf("record %d: we say %v, crypto/tls %v (%v)", i, gotErr, Alert(last), wantErr)
			}
			return
		}
		if _, err := theirs.tls.Write([]byte("done")); err != nil {
			t.Fatal(err)
		}
		want, _, err := p.take(theirs.out)
		if err != nil {
			t.Fatal(err)
		}
		if got, _, err := q.take(ours.Seal(nil, []byte("done"))); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("we send %q, %v; crypto/tls %q", got, err, want)
		}
		if (p.updates > 0) != (q.updates > 0) || q.updates > 1 {
			t.Fatalf("we answer requests for a KeyUpdate %d times, crypto/tls %d times", q.updates, p.updates)
		}
	})
}
