//go:build without_etcd

package cli

import (
	"errors"

	"midge/internal/settings"
)

func etcdPart() part { return leftOut("etcd") }

// openEtcd refuses to read settings from etcd.
func openEtcd(*settings.Etcd) (etcdKeys, error) {
	return nil, errors.New("config.etcd.endpoints: this binary was built without the part etcd; 'make build' builds all parts")
}
