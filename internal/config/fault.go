package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Fault is one thing that is wrong with a configuration.
type Fault struct {
	Origin Origin
	Key    string // "" for a fault of the file's syntax
	Detail string
}

// Error names the place, the key and what is wrong.
func (f *Fault) Error() string {
	var parts []string
	if place := f.Origin.String(); place != "" {
		parts = append(parts, place)
	}
	if f.Key != "" {
		parts = append(parts, f.Key)
	}
	return strings.Join(append(parts, f.Detail), ": ")
}

// Faults are all faults of one configuration: those of the file first, by line.
type Faults []*Fault

// Error lists all faults, one a line.
func (fs Faults) Error() string {
	lines := make([]string, len(fs))
	for i, f := range fs {
		lines[i] = f.Error()
	}
	return strings.Join(lines, "\n")
}

func (fs *Faults) add(o Origin, key, format string, args ...any) {
	*fs = append(*fs, &Fault{Origin: o, Key: key, Detail: fmt.Sprintf(format, args...)})
}

// err is nil if there are no faults.
func (fs Faults) err() error {
	if len(fs) == 0 {
		return nil
	}
	slices.SortStableFunc(fs, func(a, b *Fault) int {
		a0, b0 := &a.Origin, &b.Origin
		byName := 0
		if a0.Kind == FromFile && b0.Kind == FromFile {
			byName = cmp.Compare(a0.Name, b0.Name)
		}
		return cmp.Or(cmp.Compare(a0.Kind, b0.Kind), byName, cmp.Compare(a0.Line, b0.Line))
	})
	return fs
}

// Kind says what a value came from. A larger Kind wins.
type Kind uint8

// The sources of values, the weakest first.
const (
	FromDefault Kind = iota
	FromFile
	FromEtcd
	FromEnvironment
	FromFlag
)

// Origin is where a value came from.
type Origin struct {
	Kind Kind
	Name string // of the file, the variable or the flag; of a key of etcd, with "etcd" before it
	Line int    // in the file, from 1; 0 elsewhere
}

// String is such as "midge.toml:12", "etcd /midge/threads", "MIDGE_THREADS" or "--threads".
func (o Origin) String() string {
	switch {
	case o == (Origin{}):
		return "default"
	case o.Line > 0:
		return fmt.Sprintf("%s:%d", o.Name, o.Line)
	}
	return o.Name
}
