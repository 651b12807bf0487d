package websocket

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/gorilla/websocket"
)

// dial asks for a WebSocket of a server that serves each with f.
func dial(t *testing.T, path string, f func(*websocket.Conn)) (*Conn, error) {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/mqtt", func(w http.ResponseWriter, r *http.Request) {
		upgrader := websocket.Upgrader{Subprotocols: []string{"mqtt"}}
		ws, err := upgrader.Upgrade(w, r, nil)
		if err != nil || ws.Subprotocol() != "mqtt" {
			t.Errorf("subprotocols %q: %v", websocket.Subprotocols(r), err)
			return
		}
		defer ws.Close()
		f(ws)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	at := s.Listener.Addr().String()
	nc, err := net.Dial("tcp", at)
	if err != nil {
		t.Fatal(err)
	}
	c, err := Client(t.Context(), nc, "ws://"+at+path, "mqtt")
	if err == nil {
		t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// send writes messages, and ends with a close frame of a code, or none.
func send(t *testing.T, ws *websocket.Conn, code int, kind int, messages ...string) {
	for _, m := range messages {
		if err := ws.WriteMessage(kind, []byte(m)); err != nil {
			t.Error(err)
		}
	}
	if code != 0 {
		ws.WriteMessage(websocket.CloseMessage, websocket.FormatCloseMessage(code, "")) //nolint:errcheck // the reader tells
	}
}

// TestStream proves that messages make one stream however they are cut, and how
// it ends.
func TestStream(t *testing.T) {
	for _, tt := range []struct {
		name string
		code int
		end  error
	}{
		{"closed in order", websocket.CloseNormalClosure, io.EOF},
		{"the server goes", websocket.CloseGoingAway, io.EOF},
		{"no code", websocket.CloseNoStatusReceived, io.EOF},
		{"cut off", 0, io.EOF},
		{"refused", websocket.ClosePolicyViolation, &websocket.CloseError{Code: websocket.ClosePolicyViolation}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := dial(t, "/mqtt", func(ws *websocket.Conn) {
				send(t, ws, tt.code, websocket.BinaryMessage, "ab", "", "cdefg", "h")
			})
			if err != nil {
				t.Fatal(err)
			}
			var got strings.Builder
			b := make([]byte, 3) // less than a message
			for err == nil {
				var n int
				n, err = c.Read(b)
				got.Write(b[:n])
			}
			var closed *websocket.CloseError
			if got.String() != "abcdefgh" || errors.Is(tt.end, io.EOF) != (err == io.EOF) || err != io.EOF && !errors.As(err, &closed) {
				t.Errorf("read %q, then %v", got.String(), err)
			}
		})
	}
}

func TestTextFrame(t *testing.T) {
	c, err := dial(t, "/mqtt", func(ws *websocket.Conn) { send(t, ws, 0, websocket.TextMessage, "hello") })
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(make([]byte, 9)); n != 0 || err == nil || !strings.Contains(err.Error(), "MQTT-6.0.0-1") {
		t.Errorf("read %d, %v", n, err)
	}
}

// TestWrite proves that a write is one binary message, and Close a close frame.
func TestWrite(t *testing.T) {
	type message struct {
		kind int
		text string
		err  error
	}
	got := make(chan message, 2)
	c, err := dial(t, "/mqtt", func(ws *websocket.Conn) {
		for range 2 {
			kind, b, err := ws.ReadMessage()
			got <- message{kind, string(b), err}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	if n, err := c.Write([]byte("hello")); n != 5 || err != nil {
		t.Error(n, err)
	}
	c.Close()
	if m := <-got; m.kind != websocket.BinaryMessage || m.text != "hello" {
		t.Errorf("%+v", m)
	}
	if m := <-got; !websocket.IsCloseError(m.err, websocket.CloseNormalClosure) {
		t.Errorf("closed with %v", m.err)
	}
}

// TestRefused proves that what speaks no WebSocket is told as that, and that the
// connection is closed.
func TestRefused(t *testing.T) {
	if _, err := dial(t, "/elsewhere", nil); err == nil || err.Error() != "no WebSocket at /elsewhere: it answered 404 Not Found" {
		t.Error(err)
	}
	here, there := net.Pipe()
	go func() {
		there.Read(make([]byte, 1000)) //nolint:errcheck // what it says doesn't matter
		there.Close()
	}()
	if _, err := Client(t.Context(), here, "ws://a/mqtt", "mqtt"); err == nil || err.Error() != "closed without an answer to the WebSocket request" {
		t.Error(err)
	}
	here, there = net.Pipe()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Client(ctx, here, "ws://a/mqtt", "mqtt"); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if _, err := there.Read(make([]byte, 1)); err != io.EOF {
		t.Error("the connection is left open")
	}
}
