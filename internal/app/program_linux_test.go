package app

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"unsafe"
)

func TestProgramRanges(t *testing.T) {
	const maps = `00400000-00bfe000 r-xp 00000000 fe:00 1234                               /usr/bin/the broker (deleted)
00bfe000-0149f000 r--p 007fe000 fe:00 1234                               /usr/bin/the broker (deleted)
0149f000-01524000 rw-p 0109f000 fe:00 1234                               /usr/bin/the broker (deleted)
01524000-0356e000 rw-p 00000000 00:00 0 
3f885e400000-3f885f400000 rw-p 00000000 00:00 0 
3f885f400000-3f8862400000 ---p 00000000 00:00 0 
7f45732e0000-7f4573600000 r--p 00000000 fe:00 99                         /srv/usr/bin/the broker (deleted)
7ffe57e99000-7ffe57eba000 rw-p 00000000 00:00 0                          [stack]
`
	got, err := programRanges(strings.NewReader(maps), "/usr/bin/the broker (deleted)")
	if want := []addresses{{0x400000, 0xbfe000}, {0xbfe000, 0x149f000}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %x, %v; want %x", got, err, want)
	}
	if got, err := programRanges(strings.NewReader("nonsense\n"), "/usr/bin/midge"); err == nil {
		t.Errorf("nonsense gives %x", got)
	}
}

// TestWritten maps a file, and writes to a page of the mapping. From then on the
// mapping has something that the file has not.
func TestWritten(t *testing.T) {
	page := os.Getpagesize()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, make([]byte, 4*page), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := syscall.Mmap(int(f.Fd()), 0, 4*page, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(b) //nolint:errcheck // the process ends
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip(err)
	}
	defer pagemap.Close()
	begin := uintptr(unsafe.Pointer(&b[0]))
	r := addresses{begin, begin + uintptr(len(b))}
	for i := range 4 {
		if b[i*page] != 0 {
			t.Fatal("the file is not empty")
		}
	}
	if got, err := written(pagemap, r); got || err != nil {
		t.Errorf("pages that were read: %v, %v", got, err)
	}
	b[3*page] = 1
	if got, err := written(pagemap, r); !got || err != nil {
		t.Errorf("a page was written: %v, %v", got, err)
	}
}

// TestDropProgram maps all pages of the program first.
func TestDropProgram(t *testing.T) {
	const populateRead = 22 // MADV_POPULATE_READ, since Linux 5.14
	for _, r := range programOf(t) {
		if _, _, errno := syscall.Syscall(syscall.SYS_MADVISE, r.begin, r.end-r.begin, populateRead); errno != 0 {
			t.Skipf("madvise: %v", errno)
		}
	}
	before := residentProgram(t)
	if err := dropProgram(); err != nil {
		t.Fatal(err)
	}
	after := residentProgram(t)
	t.Logf("pages of the program: %d before, %d after", before, after)
	if after >= before {
		t.Error("no page was given back")
	}
}

// programOf is where this program is mapped.
func programOf(t *testing.T) []addresses {
	t.Helper()
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	defer maps.Close()
	ranges, err := programRanges(maps, exe)
	if err != nil {
		t.Fatal(err)
	}
	return ranges
}

// residentProgram is the number of pages of the program that are mapped.
func residentProgram(t *testing.T) (n int) {
	t.Helper()
	pagemap, err := os.Open("/proc/self/pagemap")
	if err != nil {
		t.Skip(err)
	}
	defer pagemap.Close()
	page := uintptr(os.Getpagesize())
	for _, r := range programOf(t) {
		entries := make([]byte, (r.end-r.begin)/page*8)
		if _, err := pagemap.ReadAt(entries, int64(r.begin/page*8)); err != nil {
			t.Fatal(err)
		}
		for entry := range slices.Chunk(entries, 8) {
			if binary.NativeEndian.Uint64(entry)&(1<<63) != 0 {
				n++
			}
		}
	}
	return n
}
