package cli

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"midge/internal/cli/command"
	"midge/internal/config"
	"midge/internal/mosquitto/conf"
)

// defaultFile is read when nobody names a file, if it exists.
const defaultFile = "midge.toml"

// file is the file of a configuration.
type file struct {
	name string // "" stands for that of the environment, or the default one
	all  bool   // of Mosquitto's, every line must have its counterpart
}

// loadFrom reads sources. made is what a file of Mosquitto was made into, nil for one of
// this broker.
func loadFrom(src config.Sources, made *conf.Converted) (*config.Loaded, error) {
	l, err := config.Load(src)
	if err == nil && made != nil {
		l.Warnings = append(warnings(made, l), l.Warnings...)
	}
	return l, err
}

// sources are what the configuration is read from; made is as in loadFrom.
func sources(w command.World, f file, flags []config.Given) (src config.Sources, made *conf.Converted, err error) {
	name, must := f.name, true
	if name == "" {
		name = w.Variable(config.FileVariable)
	}
	if name == "" {
		name, must = defaultFile, false
	}
	src = config.Sources{FileName: name, Environment: w.Env, Flags: flags}
	text, err := os.ReadFile(name)
	switch {
	case err == nil:
		src.File = text
	case must || !os.IsNotExist(err):
		return src, nil, fmt.Errorf("read configuration: %w", err)
	default:
		src.FileName = ""
		return src, nil, nil
	}
	if isMosquitto(src.FileName, src.File) {
		made, err = readMosquitto(&src, f.all)
		return src, made, err
	}
	src.More, err = moreFiles(confDir(name))
	return src, nil, err
}

// moreFiles reads the files of a directory that end in .toml, in the order of their names.
// A directory that is not there has none.
func moreFiles(dir string) (more []config.File, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read configuration: %w", err)
	}
	for _, e := range entries {
		if filepath.Ext(e.Name()) != ".toml" || strings.HasPrefix(e.Name(), ".") {
			continue
		}
		name := filepath.Join(dir, e.Name())
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read configuration: %w", err)
		}
		more = append(more, config.File{Name: name, Text: text})
	}
	return more, nil
}

// etcdKeys reads and watches the settings in etcd: etcd.Client, unless it was left out.
type etcdKeys interface {
	Read(ctx context.Context) ([]config.EtcdKey, error)
	Watch(ctx context.Context, last []config.EtcdKey, there bool, changed func([]config.EtcdKey), log *slog.Logger)
}

// everything is all that a configuration is read from.
type everything struct {
	config.Sources
	made *conf.Converted // as in loadFrom
	etcd etcdKeys        // nil: nothing is in etcd
	away error           // why etcd could not be read, if it may be away
}

// allSources reads files, and etcd if they, the environment or flags say where it is.
func allSources(ctx context.Context, w command.World, f file, flags []config.Given) (*everything, error) {
	src, made, err := sources(w, f, flags)
	if err != nil {
		return nil, err
	}
	all := &everything{Sources: src, made: made}
	where := config.EtcdSettings(src)
	if len(where.Endpoints) == 0 {
		return all, nil
	}
	if all.etcd, err = openEtcd(&where); err != nil {
		return nil, err
	}
	all.Etcd.Root = where.Root()
	if all.Etcd.Keys, err = all.etcd.Read(ctx); err != nil && !where.Optional {
		return nil, err
	}
	all.away = err
	return all, nil
}

// load makes a configuration of them.
func (all *everything) load() (*config.Loaded, error) {
	l, err := loadFrom(all.Sources, all.made)
	if err == nil && all.away != nil {
		l.Warnings = append(l.Warnings, "etcd is away, and the settings are those without it: "+all.away.Error())
	}
	return l, err
}

// load reads the configuration.
func load(ctx context.Context, w command.World, f file, flags []config.Given) (*config.Loaded, error) {
	all, err := allSources(ctx, w, f, flags)
	if err != nil {
		return nil, err
	}
	return all.load()
}
