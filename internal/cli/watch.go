package cli

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"midge/internal/config"
)

// quietTime is how long files must be left alone before they are read again: editors
// and programs that unpack write several times.
const quietTime = 200 * time.Millisecond

// confDir is the directory beside the file of a configuration whose files add to it.
func confDir(file string) string { return filepath.Join(filepath.Dir(file), "conf.d") }

// watch calls changed when something has happened in the directories of the
// configuration, until ctx is cancelled. A file that is replaced as a whole, as editors and
// Kubernetes do it, is noticed too: so directories are watched, and not files.
func watch(ctx context.Context, file string, changed func(), log *slog.Logger) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("changes of the configuration are not noticed; SIGHUP makes the broker read it", "error", err)
		return
	}
	defer w.Close()
	if err := w.Add(filepath.Dir(file)); err != nil {
		log.Warn("changes of the configuration are not noticed; SIGHUP makes the broker read it", "error", err)
		return
	}
	w.Add(confDir(file)) // an error: there is none yet
	quiet := time.NewTimer(quietTime)
	quiet.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case e, ok := <-w.Events:
			switch {
			case !ok:
				return
			case matters(file, e.Name):
				quiet.Reset(quietTime)
			}
		case err, ok := <-w.Errors:
			if !ok {
				return
			}
			log.Warn("a change of the configuration may have been missed; SIGHUP makes the broker read it", "error", err)
			quiet.Reset(quietTime)
		case <-quiet.C:
			w.Add(confDir(file)) // it may have come
			changed()
		}
	}
}

// matters reports whether a change of a name in a watched directory may be one of the
// configuration: a log that lies beside it changes all the time. Kubernetes replaces all files at once by
// a link whose name begins with two dots.
func matters(file, name string) bool {
	name = filepath.Clean(name)
	return name == filepath.Clean(file) || name == confDir(file) || filepath.Dir(name) == confDir(file) || strings.HasPrefix(filepath.Base(name), "..")
}

// texts are what the files of a configuration say, for telling whether that has
// changed.
func texts(src *config.Sources) string {
	all := string(src.File)
	for _, f := range src.More {
		all += "\x00" + f.Name + "\x00" + string(f.Text)
	}
	return all
}
