package app

import (
	"bufio"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// This file gives back pages of the program. Around each byte that is touched
// the system maps 64 KiB of the file, and a start touches a little of nearly
// every package. Most packages are tools, and what a quiet broker runs is a
// quarter of that. What is used comes back with the next touch, for some
// microseconds for each 64 KiB; the rest is in nobody's way: the system finds
// it unused when memory is short.

// dropProgram unmaps the pages of the program: instructions and constants.
func dropProgram() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	ranges, err := programRanges(maps, exe)
	if err != nil {
		return err
	}
	pages, err := os.Open("/proc/self/pagemap")
	if err != nil {
		return err
	}
	defer pages.Close()
	for _, r := range ranges {
		ours, err := written(pages, r)
		if err != nil {
			return err
		}
		if ours {
			continue
		}
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, r.begin, r.end-r.begin, syscall.MADV_DONTNEED); errno != 0 {
			return os.NewSyscallError("madvise", errno) // somebody has locked the pages in memory
		}
	}
	return nil
}

// addresses are those from begin to before end.
type addresses struct{ begin, end uintptr }

// programRanges finds, in the format of /proc/PID/maps, where the file exe is
// mapped and can't be written.
func programRanges(maps io.Reader, exe string) (all []addresses, err error) {
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// begin-end permissions offset device inode path, see proc_pid_maps(5)
		var r addresses
		var permissions, offset, device, inode string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s %s %s %s", &r.begin, &r.end, &permissions, &offset, &device, &inode); err != nil {
			return nil, fmt.Errorf("read /proc/self/maps: %q: %w", lines.Text(), err)
		}
		if strings.HasSuffix(lines.Text(), " "+exe) && strings.HasPrefix(permissions, "r") && !strings.Contains(permissions, "w") {
			all = append(all, r)
		}
	}
	return all, lines.Err()
}

// written reports whether a page in r is no longer that of the file, in the
// format of /proc/PID/pagemap: a debugger's breakpoint, or an address that was
// put in when the program was loaded. Such a page would be lost.
func written(pagemap io.ReaderAt, r addresses) (bool, error) {
	const present, swapped, ofFile = 1 << 63, 1 << 62, 1 << 61 // see proc_pid_pagemap(5)
	page := uintptr(os.Getpagesize())
	entries := make([]byte, (r.end-r.begin)/page*8)
	if n, err := pagemap.ReadAt(entries, int64(r.begin/page*8)); n < len(entries) {
		return false, cmp.Or(err, io.ErrUnexpectedEOF)
	}
	for ; len(entries) > 0; entries = entries[8:] {
		if e := binary.NativeEndian.Uint64(entries); e&(present|swapped) != 0 && e&ofFile == 0 {
			return true, nil
		}
	}
	return false, nil
}
