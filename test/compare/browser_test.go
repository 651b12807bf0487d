//go:build integration && unix

package compare

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Colours of internal/bench/compare/style.css.
var (
	paperLight = color.RGBA{0xfc, 0xfc, 0xfb, 0xff}
	paperDark  = color.RGBA{0x16, 0x16, 0x15, 0xff}
	firstLight = color.RGBA{0x2a, 0x6f, 0xd0, 0xff} // of the first broker, in its line
	firstDark  = color.RGBA{0x5b, 0x9b, 0xf0, 0xff}
	otherLight = color.RGBA{0xdd, 0x5f, 0x2a, 0xff}
	otherDark  = color.RGBA{0xf0, 0x8a, 0x58, 0xff}
)

// visit opens a file in headless Chromium and returns a picture of it, and
// what the page complained about: errors of scripts, and whatever the page's
// own policy forbids, such as anything from the outside.
func visit(t *testing.T, file string, width int, dark bool) (picture image.Image, complaints []string) {
	t.Helper()
	dir := t.TempDir()
	shot := filepath.Join(dir, "page.png")
	args := []string{
		"--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--disable-background-networking",
		"--disable-component-update", "--force-color-profile=srgb", "--force-device-scale-factor=1", "--user-data-dir=" + filepath.Join(dir, "profile"),
		fmt.Sprintf("--window-size=%d,2400", width), "--enable-logging=stderr", "--screenshot=" + shot,
	}
	if dark {
		args = append(args, "--blink-settings=preferredColorScheme=0")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "chromium", append(args, "file://"+file)...)
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("chromium: %v; test/install-tools installs it\n%s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, "CONSOLE") {
			complaints = append(complaints, strings.TrimSpace(line))
		}
	}
	f, err := os.Open(shot)
	if err != nil {
		t.Fatalf("no picture: %v\n%s", err, out)
	}
	defer f.Close()
	if picture, err = png.Decode(f); err != nil {
		t.Fatal(err)
	}
	return picture, complaints
}

// colours counts the pixels of each colour.
func colours(picture image.Image) map[color.RGBA]int {
	count := map[color.RGBA]int{}
	b := picture.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y++ {
		for x := b.Min.X; x < b.Max.X; x++ {
			r, g, b, _ := picture.At(x, y).RGBA()
			count[color.RGBA{uint8(r >> 8), uint8(g >> 8), uint8(b >> 8), 0xff}]++
		}
	}
	return count
}

// inBrowser proves that a report shows in a browser, in light and dark, wide
// and narrow, and that it needs nothing else.
func inBrowser(t *testing.T, file string) {
	t.Helper()
	for _, tt := range []struct {
		name                string
		width               int
		dark                bool
		paper, first, other color.RGBA
	}{
		{"light", 1200, false, paperLight, firstLight, otherLight},
		{"dark", 1200, true, paperDark, firstDark, otherDark},
		{"narrow", 420, false, paperLight, firstLight, otherLight},
	} {
		picture, complaints := visit(t, file, tt.width, tt.dark)
		if len(complaints) > 0 {
			t.Errorf("%s, %s: %v", filepath.Base(file), tt.name, complaints)
		}
		count := colours(picture)
		if strings.HasSuffix(file, ".svg") {
			if count[tt.paper]+count[color.RGBA{0x1f, 0x1f, 0x1d, 0xff}]+count[color.RGBA{0xff, 0xff, 0xff, 0xff}] < 50_000 || len(count) < 50 {
				t.Errorf("%s, %s: hardly a picture, %d colours", filepath.Base(file), tt.name, len(count))
			}
			continue
		}
		if count[tt.paper] < 100_000 || count[tt.first] < 50 || count[tt.other] < 50 {
			t.Errorf("%s, %s: %d pixels of paper, %d and %d of brokers' colours", filepath.Base(file), tt.name, count[tt.paper], count[tt.first], count[tt.other])
		}
	}
}

// TestVisitComplains proves that the check of the page can fail.
func TestVisitComplains(t *testing.T) {
	const policy = `<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">`
	for name, page := range map[string]string{
		"error in a script":          `<script>nobody.home()</script>`,
		"script against the policy":  policy + `<script>1</script>`,
		"picture from the outside":   policy + `<img src="http://127.0.0.1:1/x.png">`,
		"style sheet of the outside": policy + `<link rel="stylesheet" href="http://127.0.0.1:1/x.css">`,
	} {
		file := filepath.Join(t.TempDir(), "page.html")
		if err := os.WriteFile(file, []byte("<!doctype html><title>x</title>"+page), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, complaints := visit(t, file, 1200, false); len(complaints) == 0 {
			t.Errorf("%s: no complaint", name)
		}
	}
}
