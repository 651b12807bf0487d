package shell

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"midge/internal/app/apptest"
	"midge/internal/client"
)

var update = flag.Bool("update", false, "write the golden files")

// broker runs Midge until the test ends, and returns its address.
func broker(t testing.TB) string {
	t.Helper()
	return "mqtt://" + apptest.Serve(t)
}

// TestScripts runs the scripts of testdata against Midge, and compares what
// they print with the transcript beside them. go test -update writes it.
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.midge")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, script := range scripts {
		t.Run(filepath.Base(script), func(t *testing.T) {
			t.Parallel()
			address := broker(t)
			var out strings.Builder
			err := Run(t.Context(), Config{
				Connect: client.Options{Address: address, CleanStart: true},
				Script:  script, Echo: true, Stdout: &out,
			})
			got := strings.ReplaceAll(out.String(), address, "ADDRESS")
			if err != nil {
				got += "error: " + strings.ReplaceAll(err.Error(), address, "ADDRESS") + "\n"
			}
			golden := strings.TrimSuffix(script, ".midge") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Errorf("it printed\n%s\nwant\n%s", got, want)
			}
		})
	}
}
