// Package storetool looks into the data directory of a broker that is stopped:
// it checks every record, counts what is there, and writes messages out. That
// reads only: the directory stays as it is, down to the times of its files. And it
// makes a directory of what Mosquitto has kept.
//
// Files, from the bottom up: storetool.go, check.go, stats.go, export.go,
// import.go.
package storetool

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// Options say what to look into.
type Options struct {
	Dir string
	// Salvage reads what can be read of a damaged database: from a copy among
	// the temporary files, which takes as much room.
	Salvage bool
}

// open opens the directory, or says in plain words why not.
func open(o Options) (*pebblestore.View, pebblestore.Report, error) {
	v, report, err := pebblestore.OpenView(o.Dir, pebblestore.Options{Salvage: o.Salvage})
	switch {
	case errors.Is(err, pebblestore.ErrInUse):
		return nil, report, fmt.Errorf("a broker runs on %s: stop it first (%w)", o.Dir, err)
	case errors.Is(err, fs.ErrNotExist) && !errors.Is(err, pebblestore.ErrCorrupt):
		return nil, report, fmt.Errorf("%s is no data directory of a broker (%w)", o.Dir, err)
	}
	return v, report, hint(err)
}

// hint adds to an error of a damaged database what can be done.
func hint(err error) error {
	if errors.Is(err, pebblestore.ErrCorrupt) {
		return fmt.Errorf("%w; 'midge store check' tells what is damaged, and --salvage reads the rest", err)
	}
	return err
}

// read opens the directory and has a loader take what a broker would load. st
// reads messages that lie apart (store.Store.Fetch, StepReads). Times are
// durations since 1970, and store.Store.TimeOfDay says what they mean.
func read(o Options, loader func(v *pebblestore.View, st *store.Store) store.Loader) (lost []store.Damaged, err error) {
	v, _, err := open(o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	st := store.New(store.ReadOnly(v), store.Config{Shards: 1})
	lost, err = st.Load(loader(v, st))
	return lost, hint(err)
}

// displayed is a client's id, or the filter of a shared subscription, without the mark behind
// a mount point: "plant/phone" is the client phone with the mount point "plant/".
func displayed(id string) string { return strings.Replace(id, "\x00", "", 1) }
