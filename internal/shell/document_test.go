package shell

import (
	"os"
	"strings"
	"testing"
)

// TestDocument proves that the session in the documentation is one that was
// run: TestScripts keeps its transcript up to date.
func TestDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/shell.md")
	if err != nil {
		t.Fatal(err)
	}
	session, err := os.ReadFile("testdata/document.txt")
	if err != nil {
		t.Fatal(err)
	}
	want := strings.ReplaceAll(string(session), "ADDRESS", "mqtt://localhost:1883")
	if !strings.Contains(string(page), "```\n"+want+"```\n") {
		t.Errorf("docs/shell.md doesn't show this session:\n%s", want)
	}
}
