package storetool

import (
	"errors"
	"fmt"
	"io"
	"slices"

	"midge/internal/store"
	"midge/internal/store/pebblestore"
)

// Check verifies every file and every record, and writes what it finds. The
// error says that something is damaged, or why it could not look.
func Check(w io.Writer, dir string) (err error) {
	v, files, report, err := openToCheck(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()
	p := &printer{w: w}
	p.line("directory %s, %s", dir, formatText(v.Format()))
	damaged := 0
	for _, f := range files {
		if f.Err != nil {
			damaged++
		}
	}
	p.line("files: %d checked, %d damaged", len(files), damaged)
	for _, f := range files {
		if f.Err != nil {
			p.line("  damaged: %s (%d bytes): %v", fileText(f.Name), f.Bytes, f.Err)
		}
	}
	if report.Records > 0 || report.LostBytes > 0 {
		p.line("  about %d bytes of records cannot be read; what follows is about the %d records that can", report.LostBytes, report.Records)
	}
	lost, left, err := checkRecords(p, v)
	if err != nil {
		return err
	}
	if p.err != nil {
		return p.err
	}
	if damaged+lost > 0 {
		return fmt.Errorf("%s is damaged: %d files, %d records; a broker that starts on it sets aside what it cannot read", dir, damaged, lost)
	}
	p.line("no damage%s", map[bool]string{true: "; what is left over does no harm"}[left > 0])
	return p.err
}

// openToCheck opens a directory, damaged or not, and checks its files.
func openToCheck(dir string) (v *pebblestore.View, files []pebblestore.File, report pebblestore.Report, err error) {
	for _, salvage := range []bool{false, true} {
		v, report, err = open(Options{Dir: dir, Salvage: salvage})
		if errors.Is(err, pebblestore.ErrCorrupt) && !salvage {
			continue
		}
		if err != nil {
			return nil, nil, report, err
		}
		if files, err = v.Check(); err != nil {
			return nil, nil, report, errors.Join(err, v.Close())
		}
		sound := !slices.ContainsFunc(files, func(f pebblestore.File) bool { return f.Err != nil })
		if sound || salvage {
			break
		}
		if err := v.Close(); err != nil { // what can be read is read from a copy
			return nil, nil, report, err
		}
	}
	return v, files, report, nil
}

// checkRecords writes what is wrong with records, and counts: what is lost, and
// what is only left over.
func checkRecords(p *printer, v *pebblestore.View) (lost, left int, err error) {
	uses, err := store.Usage(v)
	if err != nil {
		return 0, 0, err
	}
	records := 0
	for _, u := range uses {
		records += u.Records
	}
	var findings []store.Finding
	if err := store.Audit(v, func(f store.Finding) { findings = append(findings, f) }); err != nil {
		return 0, 0, err
	}
	for _, f := range findings {
		if f.Lost {
			lost++
		}
	}
	left = len(findings) - lost
	p.line("records: %d checked, %d damaged, %d left over", records, lost, left)
	for _, f := range findings {
		p.line("  %s: %s: %s", map[bool]string{true: "damaged", false: "left over"}[f.Lost], f.Record, f.Fault)
	}
	return lost, left, nil
}

func formatText(n int) string {
	if n == 0 {
		return "format unknown: the file FORMAT is lost, and the next start writes it again"
	}
	return fmt.Sprintf("format %d", n)
}

func fileText(name string) string {
	if name == "" {
		return "the database"
	}
	return "db/" + name
}

// printer writes lines until one fails.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
