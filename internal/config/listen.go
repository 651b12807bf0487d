package config

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// validate checks what the table can't say.
func (l *Loaded) validate(faults *Faults) {
	seen := map[string]bool{}
	for _, text := range l.Listen {
		addr, err := ListenAddress(text)
		switch {
		case err != nil:
			faults.add(l.origins["listen"], "listen", "%v", err)
		case seen[addr] && !strings.HasSuffix(addr, ":0"):
			faults.add(l.origins["listen"], "listen", "%s is listed twice", text)
		}
		seen[addr] = true
	}
	if l.DataDir == "" {
		faults.add(l.origins["data_dir"], "data_dir", "the name is empty")
	}
	if k := l.Session.KeepAlive; k%1e9 != 0 {
		faults.add(l.origins["session.keep_alive"], "session.keep_alive", "%v is not a whole number of seconds", k)
	}
}

// ListenAddress returns the host and port of tcp://host:port, where tcp:// may
// be left out.
func ListenAddress(text string) (string, error) {
	addr := text
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		switch {
		case slices.Contains([]string{"tls", "ssl", "mqtts", "ws", "wss", "unix"}, scheme):
			return "", fmt.Errorf("%s: %s listeners are not built yet; tcp is", text, scheme)
		case scheme != "tcp" && scheme != "mqtt":
			return "", fmt.Errorf("%s: unknown scheme %q; write tcp://host:port", text, scheme)
		}
		if u, err := url.Parse(text); err == nil && u.Path != "" && u.Path != "/" {
			return "", fmt.Errorf("%s: a tcp listener has no path", text)
		}
		addr = strings.TrimSuffix(rest, "/")
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("%s: write host:port, such as 127.0.0.1:1883, [::1]:1883 or :1883", text)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65_535 {
		return "", fmt.Errorf("%s: port %q is outside 0 to 65535", text, port)
	}
	return net.JoinHostPort(host, port), nil
}
