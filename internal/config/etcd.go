package config

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"midge/internal/settings"
)

// EtcdKey is a key of etcd with its value.
type EtcdKey struct{ Name, Value string }

// Etcd is what etcd has of a configuration.
type Etcd struct {
	Root string // what the names of all keys begin with; it ends in a slash
	Keys []EtcdKey
}

const (
	// maxEtcdValue is the size of the largest value, in bytes. A value stands in the log when
	// it changes, or when it is wrong.
	maxEtcdValue = 16 << 10

	// maxUnknown is how many keys that set nothing get a warning each.
	maxUnknown = 10

	// maxLikely is the longest name, in bytes, that may be a mistyped one.
	maxLikely = 100
)

// etcd reads the keys of etcd. One that names no setting is a warning and not a fault: several
// brokers share the keys, and while they are updated only some of them know a new one.
func (l *Loaded) etcd(from *Etcd, byKey map[string]*setting, own *tables, faults *Faults) {
	var later []EtcdKey
	for _, k := range from.Keys { // a key of our own wins over one of those
		rest := strings.TrimPrefix(k.Name, from.Root)
		if !slices.Contains(legacyKeys, rest) {
			later = append(later, k)
			continue
		}
		o := Origin{Kind: FromEtcd, Name: "etcd " + k.Name}
		text, err := etcdText(k.Value)
		if err == nil {
			err = l.legacy(rest, o, text, byKey)
		}
		if err != nil {
			faults.add(o, "", "%v", err)
		}
	}
	known, unknown := keys(), 0
	for _, k := range later {
		rest := strings.TrimPrefix(k.Name, from.Root)
		if rest == "" || l.etcdKey(k, rest, byKey, own, faults) {
			continue
		}
		if unknown++; unknown > maxUnknown {
			continue
		}
		near := ""
		if len(rest) <= maxLikely {
			near = nearest(strings.ReplaceAll(rest, "/", "."), known)
		}
		if near != "" {
			near = fmt.Sprintf("; did you mean %s%s?", from.Root, strings.ReplaceAll(near, ".", "/"))
		}
		l.Warnings = append(l.Warnings, fmt.Sprintf("etcd %.200q sets nothing%s", k.Name, near))
	}
	if more := unknown - maxUnknown; more > 0 {
		l.Warnings = append(l.Warnings, fmt.Sprintf("%d more keys of etcd below %s set nothing", more, from.Root))
	}
}

// etcdKey takes a key of etcd, and reports whether it names a setting. rest is its name without
// the prefix.
func (l *Loaded) etcdKey(k EtcdKey, rest string, byKey map[string]*setting, own *tables, faults *Faults) bool {
	if strings.Contains(rest, ".") {
		return false
	}
	o, key := Origin{Kind: FromEtcd, Name: "etcd " + k.Name}, strings.ReplaceAll(rest, "/", ".")
	text, err := etcdText(k.Value)
	if s := byKey[key]; s != nil {
		switch {
		case strings.HasPrefix(key, "config."):
			faults.add(o, key, "where etcd is can't be said in etcd")
			return true
		case err == nil:
			err = s.set(&l.Settings, text)
		}
		if err != nil {
			faults.add(o, key, "%v", err)
		}
		l.origins[key] = o
		return true
	}
	inside, ok := strings.CutPrefix(key, settings.ListenerSection+".")
	name, inside, _ := strings.Cut(inside, ".")
	switch {
	case !ok || own.rows[inside] == nil || checkName(name) != nil:
		return false
	case err != nil:
		faults.add(o, key, "%v", err)
	default:
		own.set(name, inside, o, []string{text})
	}
	return true
}

// etcdText is the text of a value. `etcdctl put` takes the end of a line from a file into it.
func etcdText(value string) (string, error) {
	switch {
	case len(value) > maxEtcdValue:
		return "", fmt.Errorf("the value has %d bytes; %d at most may be", len(value), maxEtcdValue)
	case !utf8.ValidString(value) || strings.ContainsRune(value, 0):
		return "", fmt.Errorf("the value is no text")
	}
	return strings.TrimRight(value, "\r\n"), nil
}

// legacyKeys are those that the broker of Sans Pareil Technologies has below /iot/mqtt/. They are
// understood below every prefix.
var legacyKeys = []string{"tls", "cacert", "serverCert", "serverKey"}

// legacy takes one of legacyKeys. The values are true or false, and paths.
func (l *Loaded) legacy(name string, o Origin, text string, byKey map[string]*setting) error {
	path := func(key string) error {
		l.origins[key] = o
		return byKey[key].setList(&l.Settings, []string{text})
	}
	if name != "tls" && text == "" {
		return nil
	}
	switch name {
	case "cacert":
		// That broker verifies the certificate of a client that has one, and takes others.
		l.origins["tls.client_certificates"] = o
		l.TLS.ClientCertificates = settings.Optional
		return path("tls.ca")
	case "serverCert":
		return path("tls.certificate")
	case "serverKey":
		return path("tls.key")
	}
	switch text = strings.TrimSpace(text); text {
	case "true":
		l.secured = o
	case "false":
	default:
		return fmt.Errorf("%q is neither true nor false", text)
	}
	return nil
}
