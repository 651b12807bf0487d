//go:build integration && unix

package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/program"
	"midge/internal/websocket"
	"midge/test/process"
)

// daemon is the path of a program that Debian keeps where only root looks for it.
func daemon(t *testing.T, name string) string {
	t.Helper()
	for _, path := range []string{name, "/usr/sbin/" + name} {
		if found, err := exec.LookPath(path); err == nil {
			return found
		}
	}
	t.Fatalf("there is no %s; test/install-tools installs what the tests need", name)
	return ""
}

// portOf is the port of the first listener of a scheme.
func (p *broker) portOf(scheme string) string {
	p.t.Helper()
	found := regexp.MustCompile(scheme + `://127\.0\.0\.1:(\d+)`).FindStringSubmatch(p.Banner())
	if found == nil {
		p.t.Fatalf("no listener of %s in\n%s", scheme, p.Banner())
	}
	return found[1]
}

// proxy starts a proxy in a directory where its configuration is, and returns when it
// listens on all ports.
func proxy(t *testing.T, dir, path string, args []string, ports ...string) {
	t.Helper()
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &out, &out
	p, err := program.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Logf("output of %s:\n%s", cmd, &out)
		}
	})
	for _, port := range ports {
		for end := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
			if c, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
				c.Close()
				break
			}
			if time.Now().After(end) {
				t.Fatalf("%s doesn't listen on %s", path, port)
			}
		}
	}
}

// from dials 127.0.0.1 from an address of 127.0.0.0/8.
func from(t *testing.T, address, port string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c, err := d.Dial("tcp", "127.0.0.1:"+port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// overTLS is a client's end of TLS on c, whose server nobody asks for its name.
func overTLS(c net.Conn) net.Conn { return tls.Client(c, &tls.Config{InsecureSkipVerify: true}) }

// webSocket is the client's end of a WebSocket on c.
func webSocket(t *testing.T, c net.Conn, port string) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, err := websocket.Client(ctx, c, "ws://localhost:"+port+"/mqtt", "mqtt")
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

// roundTrip has a client connect, subscribe and get a large message of its own, and ends the
// connection in order.
func roundTrip(t *testing.T, c net.Conn, id string) {
	t.Helper()
	c.SetDeadline(time.Now().Add(patience))
	payload := bytes.Repeat([]byte(id), 10_000)
	b := (&packet.Connect{Version: packet.V311, ClientID: []byte(id), CleanStart: true}).Append(nil)
	b = (&packet.Subscribe{ID: 1, Subscriptions: []packet.Subscription{{Filter: []byte(id)}}}).Append(b, packet.V311)
	b = (&packet.Publish{Topic: []byte(id), Payload: payload}).Append(b, packet.V311)
	if _, err := c.Write(b); err != nil {
		t.Fatalf("%s: %v", id, err)
	}
	want := append([]byte{0x20, 2, 0, 0, 0x90, 3, 0, 1, 0}, (&packet.Publish{Topic: []byte(id), Payload: payload}).Append(nil, packet.V311)...)
	var got []byte
	for len(got) < len(want) {
		part := make([]byte, 64<<10)
		n, err := c.Read(part)
		if got = append(got, part[:n]...); err != nil {
			t.Fatalf("%s: %v after %d bytes of %d", id, err, len(got), len(want))
		}
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: the answers are not CONNACK, SUBACK and the message", id)
	}
	c.Write((&packet.Disconnect{}).Append(nil, packet.V311)) // the proxy may be quicker to close
	c.Close()
}

// seen waits until the log has the connect of a client, from an address.
func (p *broker) seen(id, address string) {
	p.t.Helper()
	is := regexp.MustCompile(`msg="client connected".*client=` + id + ` .*remote=(\S+):\d+`)
	for end := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if m := is.FindStringSubmatch(p.Log()); m != nil {
			if m[1] != address {
				p.t.Errorf("%s comes from %s, want %s", id, m[1], address)
			}
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%s is not in the log", id)
		}
	}
}

// behind starts a broker with a listener that believes PROXY headers, named in the banner as
// tcp, and one for WebSocket that believes X-Forwarded-For; both of 127.0.0.1.
func behind(t *testing.T, engine string) *broker {
	t.Helper()
	dir := t.TempDir()
	const cfg = `
[log]
connections = true
[websocket]
trusted_proxies = ["127.0.0.1"]
[[listener]]
name = "behind"
address = "tcp://127.0.0.1:0"
proxy_protocol = ["127.0.0.1"]
allow_anonymous = true
[[listener]]
name = "web"
address = "ws://127.0.0.1:0/mqtt"
`
	if err := os.WriteFile(filepath.Join(dir, "midge.toml"), []byte(cfg), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, "serve", "--config", "midge.toml", "--memory", "--set", engine)
	cmd.Dir = dir
	return &broker{process.Serve(t, cmd), t}
}

// freePorts are ports on which nobody listens. Proxies can't say which one they got.
func freePorts(t *testing.T, n int) (ports []string) {
	t.Helper()
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		ports = append(ports, fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
	}
	return ports
}

// TestBehindNginx has nginx end TLS and say in a PROXY header who the client is, and forward
// WebSocket with X-Forwarded-For. The configuration is that of docs/listeners.md and
// docs/websocket.md.
func TestBehindNginx(t *testing.T) {
	nginx := daemon(t, "nginx")
	eachEngine(t, func(t *testing.T, engine string) {
		p := behind(t, engine)
		dir := t.TempDir()
		if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
			t.Fatal(errs)
		}
		ports := freePorts(t, 3)
		cfg := strings.NewReplacer("TLS", ports[0], "WSS", ports[1], "WEB", ports[2], "BEHIND", p.portOf("tcp"), "MIDGE", p.portOf("ws"), "DIR", dir).Replace(`
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
master_process off;
pid DIR/pid;
error_log stderr;
events {}
stream {
    server {
        listen 127.0.0.1:TLS ssl;
        ssl_certificate     DIR/certs/server.pem;
        ssl_certificate_key DIR/certs/server-key.pem;
        proxy_pass 127.0.0.1:BEHIND;
        proxy_protocol on;
        proxy_timeout 1h;
    }
}
http {
    access_log off;
    client_body_temp_path DIR; proxy_temp_path DIR; fastcgi_temp_path DIR; uwsgi_temp_path DIR; scgi_temp_path DIR;
    server {
        listen 127.0.0.1:WSS ssl;
        listen 127.0.0.1:WEB;
        ssl_certificate     DIR/certs/server.pem;
        ssl_certificate_key DIR/certs/server-key.pem;
        location /mqtt {
            proxy_pass http://127.0.0.1:MIDGE;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
            proxy_read_timeout 1h;
        }
    }
}
`)
		if err := os.WriteFile(filepath.Join(dir, "nginx.conf"), []byte(cfg), 0o600); err != nil {
			t.Fatal(err)
		}
		proxy(t, dir, nginx, []string{"-c", filepath.Join(dir, "nginx.conf"), "-e", "stderr"}, ports...)

		roundTrip(t, overTLS(from(t, "127.0.0.5", ports[0])), "stream")
		p.seen("stream", "127.0.0.5")
		roundTrip(t, webSocket(t, overTLS(from(t, "127.0.0.6", ports[1])), ports[1]), "secure")
		p.seen("secure", "127.0.0.6")
		roundTrip(t, webSocket(t, from(t, "127.0.0.7", ports[2]), ports[2]), "plain")
		p.seen("plain", "127.0.0.7")
	})
}

// TestBehindHAProxy has HAProxy say who the client is, in both versions of the PROXY
// protocol, with health checks beside them. The configuration is that of docs/listeners.md.
func TestBehindHAProxy(t *testing.T) {
	haproxy := daemon(t, "haproxy")
	eachEngine(t, func(t *testing.T, engine string) {
		p := behind(t, engine)
		dir := t.TempDir()
		ports := freePorts(t, 2)
		cfg := strings.NewReplacer("PORT1", ports[0], "PORT2", ports[1], "BEHIND", p.portOf("tcp")).Replace(`
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
frontend v1
    bind 127.0.0.1:PORT1
    default_backend v1
frontend v2
    bind 127.0.0.1:PORT2
    default_backend v2
backend v1
    server midge 127.0.0.1:BEHIND send-proxy check inter 50ms
backend v2
    server midge 127.0.0.1:BEHIND send-proxy-v2 check inter 50ms
`)
		if err := os.WriteFile(filepath.Join(dir, "haproxy.cfg"), []byte(cfg), 0o600); err != nil {
			t.Fatal(err)
		}
		proxy(t, dir, haproxy, []string{"-db", "-f", "haproxy.cfg"}, ports...)
		for i, id := range []string{"v1", "v2"} {
			address := fmt.Sprint("127.0.0.", 5+i)
			roundTrip(t, from(t, address, ports[i]), id)
			p.seen(id, address)
		}
	})
}
