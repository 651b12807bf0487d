package config

import (
	"fmt"
	"slices"
	"strings"

	"midge/internal/settings"
)

// Prefix begins the names of environment variables: limits.packet_size is
// MIDGE_LIMITS_PACKET_SIZE.
const Prefix = "MIDGE_"

// FileVariable is the environment variable that names the file.
const FileVariable = Prefix + "CONFIG"

// Given is a value from the command line.
type Given struct {
	Flag   string // as the user wrote it, with dashes
	Key    string
	Values []string // several only for a list
}

// Sources is where values come from. The zero value stands for none.
type Sources struct {
	FileName    string // for messages
	File        []byte // the text of the file
	Environment []string
	Flags       []Given
}

// Loaded are settings that are free of faults, with the origins of its values.
type Loaded struct {
	settings.Settings

	// FileName is the file that was read, "" for none.
	FileName string

	// Warnings are things that look like mistakes and need not be.
	Warnings []string

	origins map[string]Origin
}

// Variable is the name of the environment variable of a setting.
func Variable(key string) string {
	return Prefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// Load reads the sources. The error is a Faults with everything that is wrong.
func Load(src Sources) (*Loaded, error) {
	l := &Loaded{Settings: settings.Default(), FileName: src.FileName, origins: map[string]Origin{}}
	var faults Faults
	byKey := map[string]*setting{}
	for _, s := range all() {
		byKey[s.Key] = &s
	}
	entries, fileFaults := readFile(src.FileName, src.File, keys())
	faults = append(faults, fileFaults...)
	for _, e := range entries {
		o := Origin{Kind: FromFile, Name: src.FileName, Line: e.line}
		l.store(&faults, o, e.key, byKey[e.key].setEntry(&l.Settings, &e))
	}
	l.environment(src.Environment, byKey, &faults)
	for _, g := range src.Flags {
		o := Origin{Kind: FromFlag, Name: g.Flag}
		s, ok := byKey[g.Key]
		switch {
		case !ok:
			faults.add(o, g.Key, "unknown key%s", didYouMean(g.Key, keys()))
		case len(g.Values) == 1:
			l.store(&faults, o, g.Key, s.set(&l.Settings, g.Values[0]))
		default:
			l.store(&faults, o, g.Key, s.setList(&l.Settings, g.Values))
		}
	}
	l.validate(&faults)
	if err := faults.err(); err != nil {
		return nil, err
	}
	return l, nil
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
func (l *Loaded) environment(env []string, byKey map[string]*setting, faults *Faults) {
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
	TOML   string // the value as in a file
	Origin Origin
	Same   bool // as the default
}

// Values returns all settings in the order of the reference page.
func (l *Loaded) Values() (values []Value) {
	def := settings.Default()
	for _, s := range all() {
		v := Value{Key: s.Key, TOML: s.toml(&l.Settings), Origin: l.origins[s.Key]}
		v.Same = v.TOML == s.toml(&def)
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
