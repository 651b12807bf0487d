package config

import (
	"fmt"
	"slices"
	"strings"

	"midge/internal/settings"
)

// Given is a value from the command line.
type Given struct {
	Flag   string // as the user wrote it, with dashes
	Key    string
	Values []string // several only for a list
}

// Sources is where values come from. The zero value stands for none.
type Sources struct {
	FileName string // for messages
	File     []byte // the text of the file

	// From is where a line of File is from, if that was made from other files: the
	// name of one, and the line in it, or 0 for none. nil: from FileName.
	From func(line int) (name string, from int)

	More []File // that come after that one; a later one wins

	Etcd Etcd

	Environment []string
	Flags       []Given
}

// File is a file of settings.
type File struct {
	Name string
	Text []byte
}

// origin is where a line of the file is from.
func (f *File) origin(line int) Origin { return Origin{Kind: FromFile, Name: f.Name, Line: line} }

// origin is where a line of the file is from.
func (s *Sources) origin(line int) Origin {
	o := Origin{Kind: FromFile, Name: s.FileName, Line: line}
	if s.From == nil {
		return o
	}
	o.Line = 0
	if name, from := s.From(line); from > 0 {
		o.Name, o.Line = name, from
	}
	return o
}

// Loaded are settings that are free of faults, with the origins of its values.
type Loaded struct {
	settings.Settings

	// FileName is the file that was read, "" for none.
	FileName string

	// Listeners are those of Listen, then those that have settings of their own.
	Listeners []Listener

	// Warnings are things that look like mistakes and need not be.
	Warnings []string

	origins map[string]Origin
	secured Origin // what has the addresses of Listen speak TLS: see legacyTLS
}

// Load reads the sources. The error is a Faults with everything that is wrong.
func Load(src Sources) (*Loaded, error) {
	var faults Faults
	l, own := read(&src, &faults)
	l.makeListeners(own)
	l.validate(&faults)
	if err := faults.err(); err != nil {
		return nil, err
	}
	return l, nil
}

// EtcdSettings returns where etcd is, by the other sources. If these have faults it returns
// no endpoints: Load says what is wrong.
func EtcdSettings(src Sources) settings.Etcd {
	src.Etcd = Etcd{}
	var faults Faults
	l, _ := read(&src, &faults)
	l.validateEtcd(&faults)
	if len(faults) > 0 {
		return settings.Etcd{}
	}
	return l.Etcd
}

func (l *Loaded) validateEtcd(faults *Faults) {
	e := &l.Etcd
	fault := func(key, format string, args ...any) { faults.add(l.origins[key], key, format, args...) }
	switch password := e.Password != "" || e.PasswordFile != ""; {
	case e.Password != "" && e.PasswordFile != "":
		fault("config.etcd.password_file", "config.etcd.password is set too; one of them is enough")
	case e.User == "" && password:
		fault("config.etcd.password", "config.etcd.user, whose password it is, is not set")
	case e.User != "" && !password:
		fault("config.etcd.user", "there is no password; set config.etcd.password_file, or %s in the environment", Variable("config.etcd.password"))
	}
	if e.Key != "" && e.Certificate == "" {
		fault("config.etcd.key", "config.etcd.certificate, whose key it is, is not set")
	}
}

// read reads the sources, the weakest first. The listeners are not made yet.
func read(src *Sources, faults *Faults) (*Loaded, *tables) {
	l := &Loaded{Settings: settings.Default(), FileName: src.FileName, origins: map[string]Origin{}}
	byKey := map[string]*setting{}
	for _, s := range all() {
		if !s.ofListener() {
			byKey[s.Key] = &s
		}
	}
	own := newTables(faults)
	l.file(src.origin, src.File, byKey, own, faults)
	for _, f := range src.More {
		l.file(f.origin, f.Text, byKey, own, faults)
	}
	l.etcd(&src.Etcd, byKey, own, faults)
	l.environment(src.Environment, byKey, own, faults)
	for _, g := range src.Flags {
		o := Origin{Kind: FromFlag, Name: g.Flag}
		s, ok := byKey[g.Key]
		switch {
		case strings.HasPrefix(g.Key, settings.ListenerSection+"."):
			own.flag(&g)
		case !ok:
			faults.add(o, g.Key, "unknown key%s", didYouMean(g.Key, keys()))
		case s.Secret:
			faults.add(o, g.Key, "everybody on this machine can read the command line; write it in a file, or in the environment as %s", Variable(g.Key))
		default:
			l.store(faults, o, g.Key, s.setTexts(&l.Settings, g.Values))
		}
	}
	return l, own
}

// file reads a file.
func (l *Loaded) file(origin func(line int) Origin, text []byte, byKey map[string]*setting, own *tables, faults *Faults) {
	entries, lines, found := readFile(origin, text)
	*faults = append(*faults, found...)
	own.read(origin, entries, lines)
	for _, e := range entries {
		if e.listener == 0 {
			l.store(faults, origin(e.line), e.key, byKey[e.key].setEntry(&l.Settings, &e))
		}
	}
}

func (l *Loaded) store(faults *Faults, o Origin, key string, err error) {
	if err != nil {
		faults.add(o, key, "%v", err)
	}
	l.origins[key] = o
}

// environment reads the variables with our prefix. One that names no setting
// is a warning and not a fault: Kubernetes sets MIDGE_PORT and others for a
// service that is called midge.
func (l *Loaded) environment(env []string, byKey map[string]*setting, own *tables, faults *Faults) {
	names := []string{FileVariable}
	byName := map[string]*setting{}
	for key, s := range byKey {
		byName[Variable(key)] = s
		names = append(names, Variable(key))
	}
	slices.Sort(names)
	env = slices.Sorted(slices.Values(env))
	for _, v := range env {
		name, text, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, Prefix) || name == FileVariable {
			continue
		}
		s, ok := byName[name]
		if !ok && own.variable(name, text) {
			continue
		}
		if !ok {
			l.Warnings = append(l.Warnings, fmt.Sprintf("environment variable %s sets nothing%s", name, didYouMean(name, names)))
			continue
		}
		l.store(faults, Origin{Kind: FromEnvironment, Name: name}, s.Key, s.set(&l.Settings, text))
	}
}

// Origin tells where the value of a key came from.
func (l *Loaded) Origin(key string) Origin { return l.origins[key] }

// Value is one setting as it is in force.
type Value struct {
	Key    string
	TOML   string // the value as in a file, unless it is a secret
	Origin Origin
	Same   bool // as the default

	Restart bool // a change does not hold before a restart
}

// Values returns all settings outside of listeners, in the order of the reference page.
func (l *Loaded) Values() (values []Value) {
	def := settings.Default()
	for _, s := range all() {
		if s.ofListener() {
			continue
		}
		v := Value{Key: s.Key, TOML: s.shown(&l.Settings), Origin: l.origins[s.Key], Restart: s.Change == ""}
		v.Same = s.toml(&l.Settings) == s.toml(&def)
		values = append(values, v)
	}
	return values
}

// FlagOf returns the key that a flag of midge serve sets, "" for none.
func FlagOf(flag string) (key string) {
	for _, s := range all() {
		if s.Flag == flag {
			return s.Key
		}
	}
	return ""
}

// warnOfClearText warns of services to which passwords go as they are.
func (l *Loaded) warnOfClearText() {
	var said []string
	for i := range l.Listeners {
		for _, url := range []string{l.Listeners[i].Hook.AuthURL, l.Listeners[i].Hook.ACLURL} {
			if settings.InClear(url) && !slices.Contains(said, url) {
				said = append(said, url)
				l.Warnings = append(l.Warnings, url+": over http, passwords and answers can be read and changed on the way; use https")
			}
		}
	}
}

// validate checks what the table can't say.
func (l *Loaded) validate(faults *Faults) {
	for i := range l.Listeners {
		if one := &l.Listeners[i]; one.Auth.ClientID != "" && !one.Asks() {
			faults.add(l.origins["auth.client_id"], "auth.client_id", "listener %s asks nobody who he is, so that nobody could connect; set auth.password_file", one.Name())
		}
	}
	l.validateEtcd(faults)
	l.warnOfClearText()
	if l.DataDir == "" {
		faults.add(l.origins["data_dir"], "data_dir", "the name is empty")
	}
	if k := l.Session.KeepAlive; k%1e9 != 0 {
		faults.add(l.origins["session.keep_alive"], "session.keep_alive", "%v is not a whole number of seconds", k)
	}
	if shows := func(one Listener) bool {
		return len(one.TLS.Certificate) == 0 && len(one.Addresses) > 0 && (one.Addresses[0].Scheme == "tls" || one.Addresses[0].Scheme == "wss")
	}; len(l.TLS.ACME.Domains) > 0 && !slices.ContainsFunc(l.Listeners, shows) {
		l.Warnings = append(l.Warnings, "no listener shows the certificates of tls.acme.domains: none has TLS and no tls.certificate")
	}
	if l.Strict.KeepAlive && l.Session.KeepAlive == 0 {
		l.Warnings = append(l.Warnings, "strict.keep_alive does nothing as long as session.keep_alive is 0")
	}
}
