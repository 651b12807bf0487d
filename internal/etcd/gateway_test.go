package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"midge/internal/config"
	"midge/internal/settings"
)

// gateway is one member of a cluster as the tests have it, on a network in memory. What it
// answers was compared with etcd 3.4.23.
type gateway struct {
	conns chan net.Conn
	busy  atomic.Int64 // requests
	*cluster

	// Guarded by cluster.mu.
	down    bool                                              // nobody listens
	before  func(w http.ResponseWriter, r *http.Request) bool // answers in its place, if it returns true
	calls   map[string]int                                    // by method
	serving []net.Conn
}

// cluster is what its members share.
type cluster struct {
	mu        sync.Mutex
	keys      map[string]stored
	revision  int64
	compacted int64
	news      chan struct{} // closed at the next change
	password  string        // "": nobody is asked
	tokens    int           // the number of the only good one
}

type stored struct {
	value    string
	modified int64
}

func newCluster() *cluster {
	return &cluster{keys: map[string]stored{}, revision: 1, news: make(chan struct{})}
}

// member starts a member.
func (c *cluster) member(t *testing.T) *gateway {
	g := &gateway{conns: make(chan net.Conn), cluster: c, calls: map[string]int{}}
	server := &http.Server{Handler: g}
	done := make(chan struct{})
	go func() { server.Serve(g); close(done) }()
	t.Cleanup(func() {
		server.Close()
		<-done
		for g.busy.Load() > 0 { // a WaitGroup does not allow that one begins meanwhile
			time.Sleep(time.Second)
		}
	})
	return g
}

// Accept, Close and Addr implement net.Listener.
func (g *gateway) Accept() (net.Conn, error) {
	c, ok := <-g.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (g *gateway) Close() error   { close(g.conns); return nil }
func (g *gateway) Addr() net.Addr { return &net.TCPAddr{} }

func (g *gateway) dial(ctx context.Context) (net.Conn, error) {
	g.mu.Lock()
	down := g.down
	g.mu.Unlock()
	if down {
		return nil, syscall.ECONNREFUSED
	}
	near, far := net.Pipe()
	select {
	case g.conns <- far:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	g.mu.Lock()
	g.serving = append(g.serving, far)
	g.mu.Unlock()
	return near, nil
}

// set changes what a member does.
func (g *gateway) set(change func(*gateway)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

// kill ends a member as kill -9 does.
func (g *gateway) kill() {
	g.set(func(g *gateway) { g.down = true })
	for _, c := range g.serving {
		c.Close()
	}
}

func (g *gateway) called(method string) int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.calls[method]
}

// put changes keys, all at one revision; "" deletes one.
func (c *cluster) put(keysAndValues ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision++
	for i := 0; i < len(keysAndValues); i += 2 {
		if keysAndValues[i+1] == "" {
			delete(c.keys, keysAndValues[i])
			continue
		}
		c.keys[keysAndValues[i]] = stored{keysAndValues[i+1], c.revision}
	}
	close(c.news)
	c.news = make(chan struct{})
}

func (g *gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.busy.Add(1)
	defer g.busy.Add(-1)
	method := strings.TrimPrefix(r.URL.Path, "/v3/")
	g.mu.Lock()
	g.calls[method]++
	before := g.before
	g.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	body, _ := io.ReadAll(r.Body)
	switch method {
	case "kv/range":
		g.serveRange(w, r, body)
	case "watch":
		g.serveWatch(w, r, body)
	case "auth/authenticate":
		g.authenticate(w, body)
	default:
		http.NotFound(w, r)
	}
}

func refuse(w http.ResponseWriter, status, code int, text string) {
	w.WriteHeader(status)
	json.NewEncoder(w).Encode(map[string]any{"error": text, "message": text, "code": code})
}

func (g *gateway) authenticate(w http.ResponseWriter, body []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	var q authRequest
	json.Unmarshal(body, &q)
	switch {
	case g.password == "":
		refuse(w, http.StatusPreconditionFailed, 9, "etcdserver: authentication is not enabled")
	case q.Name != "ann" || q.Password != g.password:
		refuse(w, http.StatusBadRequest, 3, "etcdserver: authentication failed, invalid user ID or password")
	default:
		g.tokens++
		fmt.Fprintf(w, `{"header":{"revision":"%d"},"token":"token.%d"}`, g.revision, g.tokens)
	}
}

// admitted answers whoever has no good token. mu is held.
func (g *gateway) admitted(w http.ResponseWriter, r *http.Request) bool {
	switch token := r.Header.Get("Authorization"); {
	case g.password == "":
		return true
	case token == "":
		refuse(w, http.StatusBadRequest, 3, "etcdserver: user name is empty")
		return false
	case token != fmt.Sprintf("token.%d", g.tokens):
		refuse(w, http.StatusUnauthorized, 16, "etcdserver: invalid auth token")
		return false
	}
	return true
}

func (g *gateway) serveRange(w http.ResponseWriter, r *http.Request, body []byte) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.admitted(w, r) {
		return
	}
	var q rangeRequest
	if err := json.Unmarshal(body, &q); err != nil {
		refuse(w, http.StatusBadRequest, 3, err.Error())
		return
	}
	var all []map[string]any
	for name, s := range g.keys {
		if name < string(q.Key) || name >= string(q.End) {
			continue
		}
		kv := map[string]any{"key": []byte(name), "mod_revision": fmt.Sprint(s.modified)}
		if !q.KeysOnly {
			kv["value"] = []byte(s.value)
		}
		all = append(all, kv)
	}
	slices.SortFunc(all, func(a, b map[string]any) int {
		if q.Target == "MOD" {
			return int(g.keys[string(b["key"].([]byte))].modified - g.keys[string(a["key"].([]byte))].modified)
		}
		return strings.Compare(string(a["key"].([]byte)), string(b["key"].([]byte)))
	})
	answer := map[string]any{"header": map[string]any{"revision": fmt.Sprint(g.revision)}}
	if len(all) > 0 {
		answer["count"] = fmt.Sprint(len(all))
		if q.Limit > 0 {
			all = all[:min(len(all), int(q.Limit))]
		}
		answer["kvs"] = all
	}
	json.NewEncoder(w).Encode(answer)
}

func (g *gateway) serveWatch(w http.ResponseWriter, r *http.Request, body []byte) {
	var q watchRequest
	if err := json.Unmarshal(body, &q); err != nil {
		refuse(w, http.StatusBadRequest, 3, err.Error())
		return
	}
	line := func(format string, args ...any) {
		fmt.Fprintf(w, format+"\n", args...)
		w.(http.Flusher).Flush()
	}
	g.mu.Lock()
	from, compacted := q.Create.From, g.compacted
	admitted := g.password == "" || r.Header.Get("Authorization") == fmt.Sprintf("token.%d", g.tokens)
	g.mu.Unlock()
	if !admitted {
		line(`{"result":{"header":{},"watch_id":"-1","created":true,"canceled":true,"cancel_reason":"rpc error: code = Unauthenticated desc = etcdserver: invalid auth token"}}`)
		return
	}
	line(`{"result":{"header":{"revision":"1"},"created":true}}`)
	if from <= compacted {
		line(`{"result":{"header":{},"canceled":true,"compact_revision":"%d"}}`, compacted)
		return
	}
	for {
		g.mu.Lock()
		revision, news := g.revision, g.news
		g.mu.Unlock()
		if revision >= from {
			line(`{"result":{"header":{"revision":"%d"},"events":[{"kv":{"key":"eA==","mod_revision":"%[1]d"}}]}}`, revision)
			from = revision + 1
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}

// client returns a client of members, which are called http://0 and so on, and its log.
func client(t *testing.T, change func(*settings.Etcd), members ...*gateway) (*Client, *journal) {
	t.Helper()
	cfg := settings.Default().Etcd
	for i := range members {
		cfg.Endpoints = append(cfg.Endpoints, fmt.Sprintf("http://%d", i))
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(&cfg)
	if err != nil {
		t.Fatal(err)
	}
	c.maxBytes = 2 << 20
	transport := c.http.Transport.(*http.Transport)
	transport.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		var i int
		fmt.Sscan(address, &i)
		return members[i].dial(ctx)
	}
	t.Cleanup(transport.CloseIdleConnections)
	return c, &journal{}
}

// journal is a log that tests read.
type journal struct {
	mu   sync.Mutex
	text strings.Builder
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.text.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

// watching is a watch, and what it has said.
type watching struct {
	mu      sync.Mutex
	changes [][]config.EtcdKey
	end     context.CancelFunc
	ended   chan struct{}
}

// watch reads and watches, as a broker does.
func watch(t *testing.T, c *Client, log *journal) *watching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &watching{end: cancel, ended: make(chan struct{})}
	first, err := c.Read(ctx)
	go func() {
		c.Watch(ctx, first, err == nil, func(keys []config.EtcdKey) {
			w.mu.Lock()
			w.changes = append(w.changes, keys)
			w.mu.Unlock()
		}, log.logger())
		close(w.ended)
	}()
	t.Cleanup(func() { cancel(); <-w.ended })
	return w
}

// got returns how many changes there were since the last call, and what the keys are after
// them, such as "a=1 b=2".
func (w *watching) got() (n int, keys string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = len(w.changes)
	if n > 0 {
		keys = text(w.changes[n-1])
	}
	w.changes = nil
	return n, keys
}

func text(keys []config.EtcdKey) string {
	var all []string
	for _, k := range keys {
		all = append(all, strings.TrimPrefix(k.Name, "/midge/")+"="+k.Value)
	}
	return strings.Join(all, " ")
}

// after lets time pass in a bubble of synctest.
func after(d time.Duration) { time.Sleep(d) }
