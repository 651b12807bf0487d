package app

import "fmt"

const (
	// reservedFiles are the descriptors that the broker keeps for itself: one
	// for each of at most 64 shards, four for each thread, listeners and
	// files, with room to spare.
	reservedFiles = 200

	// mostConnections is the limit where the system has none. At 700 bytes
	// for each, so many idle connections take 700 MB. Guess.
	mostConnections = 1_000_000
)

// connectionLimit is the number of connections to allow when the configuration
// asks for wanted, 0 for as many as the files allow. warning tells if the files
// don't allow as many as wanted.
func connectionLimit(wanted int, files uint64, known bool) (limit int, warning string) {
	fit := mostConnections
	if known {
		fit = int(min(files, mostConnections+reservedFiles)) - reservedFiles
		fit = max(fit, 1)
	}
	if wanted == 0 {
		return fit, ""
	}
	if known && uint64(wanted)+reservedFiles > files {
		warning = fmt.Sprintf("limits.connections is %s, but the limit of open files, %s, leaves room for %s; raise it (ulimit -n, or LimitNOFILE in systemd) to %s",
			grouped(uint64(wanted)), grouped(files), grouped(uint64(max(int64(files)-reservedFiles, 1))), grouped(uint64(wanted)+reservedFiles))
	}
	return wanted, warning
}

// grouped writes n with a comma between thousands.
func grouped(n uint64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
