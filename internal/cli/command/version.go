package command

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// Version is the version of this source. A release removes "-dev".
const Version = "0.1.0-dev"

// Build says what this binary is, such as
// "midge 0.1.0-dev (commit 1a2b3c4d5e6f), go1.26.0, linux/amd64".
func Build() string {
	return fmt.Sprintf("midge %s%s, %s, %s/%s", Version, Commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// Commit is the commit that the binary was built from, in brackets, or "" when
// it was not built inside a repository.
func Commit() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = " with changes"
		}
	}
	if revision == "" {
		return ""
	}
	return " (commit " + revision + changed + ")"
}
