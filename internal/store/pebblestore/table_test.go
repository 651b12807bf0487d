package pebblestore

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/objstorage/objstorageprovider"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestDamagedIndex damages each block of the index of a large table, which has
// many, in turn. Only what lies in blocks that this one lists is lost.
func TestDamagedIndex(t *testing.T) {
	const records = 2000
	fs := vfs.NewMem()
	f, err := fs.Create("table", vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	w := sstable.NewWriter(objstorageprovider.NewFileWritable(f), sstable.WriterOptions{
		BlockSize: 512, IndexBlockSize: 512, TableFormat: formatMajorVersion.MaxTableFormat(),
	})
	for i := range records {
		if err := w.Set(fmt.Appendf(nil, "key %06d", i), fmt.Appendf(nil, "value %06d", i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := openTable(fs, "table")
	if err != nil {
		t.Fatal(err)
	}
	layout, err := r.Layout()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	blocks := len(layout.Index)
	if blocks < 3 {
		t.Fatalf("the index has %d blocks: the test proves nothing", blocks)
	}
	for i, block := range layout.Index {
		flip := func() {
			f, err := fs.OpenReadWrite("table", vfs.WriteCategoryUnspecified)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			b := make([]byte, 1)
			at := int64(block.Offset + block.Length/2)
			if _, err := f.ReadAt(b, at); err != nil {
				t.Fatal(err)
			}
			b[0] ^= 0x40
			if _, err := f.WriteAt(b, at); err != nil {
				t.Fatal(err)
			}
		}
		flip()
		s, _, err := newTableSource(fs, "", "table")
		if err != nil {
			t.Fatal(err)
		}
		var e entry
		var last string
		lost := records
		for ; s.next(&e); lost-- {
			if key := string(e.key); key <= last {
				t.Fatalf("block %d: %q follows %q", i, key, last)
			}
			last = string(e.key)
		}
		if _, err := s.close(); err == nil {
			t.Errorf("block %d of the index: no damage is reported", i)
		}
		if lost == 0 || lost > 2*records/blocks {
			t.Errorf("block %d of the index, of %d: %d of %d records are lost", i, blocks, lost, records)
		}
		flip()
	}
}
