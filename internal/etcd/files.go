package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
	"runtime"
	"strings"

	"midge/internal/settings"
)

// readSecret reads a file that not everybody may read. key is the setting that names it.
func readSecret(key, name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if info.Mode().Perm()&0o007 != 0 && runtime.GOOS != "windows" {
		return nil, fmt.Errorf("%s: everybody on this machine may read the secret in %s (mode %04o); type: chmod o= %[2]s", key, name, info.Mode().Perm())
	}
	text, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return text, nil
}

// readPassword reads the first line of a file.
func readPassword(name string) (string, error) {
	text, err := readSecret("config.etcd.password_file", name)
	if err != nil {
		return "", err
	}
	password, _, _ := strings.Cut(string(text), "\n")
	if password = strings.TrimRight(password, "\r"); password == "" {
		return "", fmt.Errorf("config.etcd.password_file: the first line of %s is empty", name)
	}
	return password, nil
}

// clientTLS is how https endpoints are spoken to.
func clientTLS(cfg *settings.Etcd) (*tls.Config, error) {
	c := &tls.Config{MinVersion: tls.VersionTLS12}
	if cfg.CA != "" {
		text, err := os.ReadFile(cfg.CA)
		if err != nil {
			return nil, fmt.Errorf("config.etcd.ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("config.etcd.ca: %s has no certificate in PEM (-----BEGIN CERTIFICATE-----)", cfg.CA)
		}
	}
	if cfg.Certificate == "" {
		return c, nil
	}
	if _, err := clientCertificate(cfg); err != nil {
		return nil, err
	}
	// Read for each connection: such certificates often live for hours.
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return clientCertificate(cfg) }
	return c, nil
}

func clientCertificate(cfg *settings.Etcd) (*tls.Certificate, error) {
	key, keyFile := "config.etcd.key", cfg.Key
	if keyFile == "" {
		key, keyFile = "config.etcd.certificate", cfg.Certificate
	}
	private, err := readSecret(key, keyFile)
	if err != nil {
		return nil, err
	}
	public, err := os.ReadFile(cfg.Certificate)
	if err != nil {
		return nil, fmt.Errorf("config.etcd.certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(public, private)
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", key, keyFile, err)
	}
	return &pair, nil
}
