//go:build integration && unix

package interop

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/test/process"
)

// page is a page that subscribes and publishes with MQTT.js, over each address of a list, and
// posts what came of that.
const page = `<!doctype html><title>MQTT in a browser</title>
<script src="/mqtt.min.js"></script>
<script>
const run = (url) => new Promise((done) => {
  const c = mqtt.connect(url, { protocolVersion: 5, reconnectPeriod: 0, connectTimeout: 240000 })
  const payload = 'x'.repeat(100000)
  c.on('error', (e) => done('error: ' + e))
  c.on('close', () => done('closed'))
  c.on('message', (topic, b) => { if (b.toString() === payload) done('ok') })
  c.on('connect', async () => {
    await c.subscribeAsync(url, { qos: 2 })
    await c.publishAsync(url, payload, { qos: 2 })
  })
})
const all = new URLSearchParams(location.search).getAll('url')
Promise.all(all.map(run)).then((results) => fetch('/result', { method: 'POST', body: results.join('\n') }))
</script>`

// spki is the hash by which Chromium is told to trust a certificate.
func spki(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(b)
	c, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(c.RawSubjectPublicKeyInfo)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// TestBrowser has a page in headless Chromium publish and subscribe over WebSocket and
// WebSocket over TLS. A page of another origin than the broker allows is refused.
func TestBrowser(t *testing.T) {
	if certificates == "" {
		t.Skip("somebody else's broker: only TCP is known of it")
	}
	script, err := os.ReadFile("node_modules/mqtt/dist/mqtt.min.js")
	if err != nil {
		t.Fatalf("MQTT.js is missing: %v; install it with: cd test/interop && npm ci", err)
	}
	results := make(chan string, 1)
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/mqtt.min.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = w.Write(script) // a page that misses it has no result
		case "/result":
			b, _ := io.ReadAll(r.Body)
			results <- string(b)
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
		}
	}))
	defer site.Close()
	args := append([]string{"serve", "--memory", "--set", "websocket.origins=" + site.URL}, ownCertificate()...)
	broker := process.Serve(t, exec.Command(binary, append(args, "--listen", "ws://127.0.0.1:0/mqtt", "--listen", "wss://127.0.0.1:0/mqtt")...))
	addresses := listening(broker)
	visit := func(origin string) string {
		t.Helper()
		url := fmt.Sprintf("%s/?url=ws://%s/mqtt&url=wss://%s/mqtt", origin, addresses["ws"], addresses["wss"])
		cmd := exec.Command(find(t, "chromium", "apt-get install chromium"),
			"--headless=new", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
			"--user-data-dir="+t.TempDir(), "--ignore-certificate-errors-spki-list="+spki(t, filepath.Join(certificates, "server.pem")),
			"--remote-debugging-port=0", url) // which keeps it open
		start(t, cmd, func(string) {})
		select {
		case result := <-results:
			return result
		case <-time.After(patience):
			t.Fatal("the page tells nothing")
		}
		return ""
	}
	if got := visit(site.URL); got != "ok\nok" {
		t.Errorf("the page got %q over WebSocket, without and with TLS, want ok twice", got)
	}
	// The same page by another name of the same server.
	other := strings.Replace(site.URL, "127.0.0.1", "localhost", 1)
	if got := visit(other); strings.Contains(got, "ok") {
		t.Errorf("a page of %s got %q, although the broker allows others", other, got)
	}
}
