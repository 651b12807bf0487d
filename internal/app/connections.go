package app

import (
	"fmt"

	"midge/internal/engine"
	"midge/internal/settings"
	"midge/internal/store/pebblestore"
)

const (
	// processFiles are the descriptors of the process itself: standard streams,
	// listeners, the runtime's own, and what is open for moments.
	processFiles = 32

	// threadFiles are those of each thread: two for epoll, one for io_uring and
	// one to spare.
	threadFiles = 4

	// acceptedFiles are connections that have been accepted and not counted yet:
	// as many as a thread accepts in a turn.
	acceptedFiles = 64

	// fewConnections are so few that a user will want to know why. Guess.
	fewConnections = 500
)

// descriptors says what the process may use its file descriptors for.
type descriptors struct {
	limit       uint64 // of the process
	known       bool   // whether there is one
	tables      int    // of the store, open at a time (pebblestore.Options.MaxOpenFiles); 0: its default
	lingering   int    // sockets that are closed and have output left
	refusing    int    // connections over the limit that wait to be told (broker.Config.Refusing)
	connections int    // the limit in force
	reserved    int    // all but connections
	warning     string // what an operator should know, or ""
}

// share shares limit descriptors out; wanted is the number of connections that
// the configuration asks for, 0 for as many as there is room for.
func share(wanted int, limit uint64, known bool, shards, threads int, durable bool) descriptors {
	d := descriptors{limit: limit, known: known, lingering: engine.MaxLingering, refusing: settings.MaxRefusing, connections: settings.MaxConnections}
	if !known {
		if wanted != 0 {
			d.connections = wanted
		}
		return d
	}
	left := int(min(limit, 1<<30))
	own := processFiles + shards + threadFiles*threads
	if durable {
		d.tables = min(max(left/16, pebblestore.MinOpenFiles), pebblestore.MaxOpenFiles)
		own += d.tables + pebblestore.OtherFiles
	}
	left = max(left-own, 0)
	d.lingering = min(max(left/8, shards), engine.MaxLingering) // epoll wants one for each shard
	d.refusing = min(left/8, settings.MaxRefusing)
	d.reserved = own + d.lingering + d.refusing + min(left/8, acceptedFiles)
	fit := min(max(int(min(limit, 1<<30))-d.reserved, 1), settings.MaxConnections)
	d.connections = fit
	switch {
	case wanted == 0 && fit < fewConnections:
		d.warning = fmt.Sprintf("the limit of open files, %s, leaves room for %s connections; raise it (ulimit -n, or LimitNOFILE in systemd)",
			grouped(limit), grouped(uint64(fit)))
	case wanted != 0 && uint64(wanted)+uint64(d.reserved) > limit:
		d.warning = fmt.Sprintf("limits.connections is %s, but the limit of open files, %s, leaves room for %s, which is the limit in force; raise it (ulimit -n, or LimitNOFILE in systemd) to %s",
			grouped(uint64(wanted)), grouped(limit), grouped(uint64(fit)), grouped(uint64(wanted+processFiles+shards+threadFiles*threads+pebblestore.MaxOpenFiles+pebblestore.OtherFiles+engine.MaxLingering+settings.MaxRefusing+acceptedFiles)))
	case wanted != 0:
		d.connections = wanted
	}
	return d
}

// grouped writes n with a comma between thousands.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
