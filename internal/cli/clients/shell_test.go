package clients

import (
	"path/filepath"
	"runtime"
	"testing"

	"midge/internal/cli/command"
)

func TestStateDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the paths are those of Unix")
	}
	for _, tt := range []struct {
		env  []string
		want string
	}{
		{nil, ""},
		{[]string{"HOME=/home/a"}, "/home/a/.local/state/midge"},
		{[]string{"HOME=/home/a", "XDG_STATE_HOME=/state"}, "/state/midge"},
		{[]string{"HOME=/home/a", "XDG_STATE_HOME=relative"}, "/home/a/.local/state/midge"},
	} {
		if got := stateDir(command.World{Env: tt.env}); got != filepath.FromSlash(tt.want) {
			t.Errorf("%v: %s, want %s", tt.env, got, tt.want)
		}
	}
}
