package proc

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Listener finds the process that listens on an address of this machine; ok is
// false if it is not here, is not ours to look at, or is this one.
func Listener(at netip.AddrPort) (pid int, ok bool) {
	if !ownAddress(at.Addr()) {
		return 0, false
	}
	inode := ""
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		if inode = listening(table, at.Port()); inode != "" {
			break
		}
	}
	if inode == "" {
		return 0, false
	}
	files, _ := filepath.Glob("/proc/[0-9]*/fd/[0-9]*") // the pattern is right
	for _, file := range files {
		if to, err := os.Readlink(file); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		return pid, err == nil && pid != os.Getpid()
	}
	return 0, false
}

// listening finds the inode of the socket that listens on a port, "" if there is
// none.
func listening(table string, port uint16) (inode string) {
	f, err := os.Open(table)
	if err != nil {
		return ""
	}
	defer f.Close()
	const state, listens = 3, "0A"
	for lines := bufio.NewScanner(f); lines.Scan(); {
		w := strings.Fields(lines.Text())
		if len(w) > 9 && w[state] == listens && strings.HasSuffix(w[1], fmt.Sprintf(":%04X", port)) {
			return w[9]
		}
	}
	return ""
}

// ownAddress reports whether an address is one of this machine.
func ownAddress(a netip.Addr) bool {
	if a.IsLoopback() {
		return true
	}
	all, _ := net.InterfaceAddrs() // none: it is not
	for _, own := range all {
		if p, err := netip.ParsePrefix(own.String()); err == nil && p.Addr() == a.Unmap() {
			return true
		}
	}
	return false
}
