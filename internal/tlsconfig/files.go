package tlsconfig

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"runtime"
	"slices"
	"time"
)

// stamp tells a file from what it was before. Links are followed: what Kubernetes
// and certbot exchange are links.
type stamp struct {
	size     int64
	modified time.Time
	info     fs.FileInfo // nil: it is not there
}

func stamps(names []string) (all []stamp) {
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			all = append(all, stamp{})
			continue
		}
		all = append(all, stamp{info.Size(), info.ModTime(), info})
	}
	return all
}

// same reports whether files are those that they were.
func same(a, b []stamp) bool {
	return slices.EqualFunc(a, b, func(x, y stamp) bool {
		if x.info == nil || y.info == nil {
			return x.info == nil && y.info == nil
		}
		return x.size == y.size && x.modified.Equal(y.modified) && os.SameFile(x.info, y.info)
	})
}

// read reads a file. key is the setting that names it.
func read(key, name string) ([]byte, error) {
	b, err := os.ReadFile(name)
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("%s: %s %s: %w", key, path.Op, name, path.Err)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: read %s: %w", key, name, err)
	}
	return b, nil
}

// checkReadable refuses a private key that everybody on the machine may read.
func checkReadable(key, name string) error {
	info, err := os.Stat(name)
	if err != nil || runtime.GOOS == "windows" || info.Mode().Perm()&0o007 == 0 {
		return nil // read says what is wrong
	}
	return fmt.Errorf("%s: everybody on this machine may read the private key in %s (mode %04o); type: chmod o= %s   (or set tls.readable_keys = true)",
		key, name, info.Mode().Perm(), name)
}

// pair reads a certificate and its key, which the setting key names.
func pair(name, key, keyName string, readable bool) (none tls.Certificate, err error) {
	certPEM, err := read("tls.certificate", name)
	if err != nil {
		return none, err
	}
	if keyName == name && !bytes.Contains(certPEM, []byte("PRIVATE KEY-----")) {
		return none, fmt.Errorf("tls.key: name the file with the private key; %s has none", name)
	}
	if !readable {
		if err := checkReadable(key, keyName); err != nil {
			return none, err
		}
	}
	keyPEM, err := read(key, keyName)
	if err != nil {
		return none, err
	}
	if _, err := parse("tls.certificate", name, certPEM); err != nil {
		return none, err
	}
	certificate, err := tls.X509KeyPair(certPEM, keyPEM)
	switch block, _ := pem.Decode(keyPEM); {
	case err == nil:
		return certificate, nil
	case block != nil && (block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != ""):
		return none, fmt.Errorf("%s: the key in %s is encrypted; 'openssl pkey -in %s -out FILE' decrypts it", key, keyName, keyName)
	}
	return none, fmt.Errorf("%s: use the key in %s with the certificate in %s: %w", key, keyName, name, err)
}

// parse reads the certificates in a PEM file.
func parse(key, name string, b []byte) (all []*x509.Certificate, err error) {
	for block, rest := pem.Decode(b); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		x, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: read the certificate in %s: %w", key, name, err)
		}
		all = append(all, x)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%s: %s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", key, name)
	}
	return all, nil
}
