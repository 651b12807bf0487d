package clients

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"midge/internal/client"
)

// tls makes the TLS configuration; none of the flags leaves it nil, for TCP or
// what --url implies.
func (c *connectFlags) tls(o *client.Options) error {
	if c.caFile == "" && c.caPath == "" && c.cert == "" && c.key == "" && !c.insecure && !c.systemRoots && c.tlsVersion == "" && c.tlsALPN == "" && c.ciphers == "" {
		return nil
	}
	config := &tls.Config{InsecureSkipVerify: c.insecure, MinVersion: tls.VersionTLS12}
	switch c.tlsVersion {
	case "", "tlsv1.2":
	case "tlsv1.3":
		config.MinVersion = tls.VersionTLS13
	case "tlsv1.1":
		config.MinVersion = tls.VersionTLS11
	default:
		return fmt.Errorf("--tls-version %s: write tlsv1.3, tlsv1.2 or tlsv1.1", c.tlsVersion)
	}
	var err error
	if config.CipherSuites, err = cipherSuites(c.ciphers); err != nil {
		return fmt.Errorf("--ciphers: %w", err)
	}
	if c.tlsALPN != "" {
		config.NextProtos = []string{c.tlsALPN}
	}
	if (c.cert == "") != (c.key == "") {
		return errors.New("--cert and --key belong together")
	}
	if c.cert != "" {
		pair, err := tls.LoadX509KeyPair(c.cert, c.key)
		if err != nil {
			return fmt.Errorf("--cert %s --key %s: %w", c.cert, c.key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	config.RootCAs, err = c.authorities()
	o.TLS = config
	return err
}

// authorities reads --cafile and --capath; nil stands for the system's.
func (c *connectFlags) authorities() (*x509.CertPool, error) {
	var files []string
	if c.caFile != "" {
		files = append(files, c.caFile)
	}
	if c.caPath != "" {
		found, err := os.ReadDir(c.caPath)
		if err != nil {
			return nil, fmt.Errorf("--capath: %w", err)
		}
		for _, f := range found {
			if !f.IsDir() {
				files = append(files, filepath.Join(c.caPath, f.Name()))
			}
		}
	}
	if c.caFile == "" && c.caPath == "" {
		return nil, nil
	}
	pool, any := x509.NewCertPool(), false
	if c.systemRoots {
		if system, err := x509.SystemCertPool(); err == nil {
			pool = system
		}
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read authorities: %w", err)
		}
		any = pool.AppendCertsFromPEM(text) || any
	}
	if !any {
		return nil, fmt.Errorf("read authorities: no certificate in %s", strings.Join(files, ", "))
	}
	return pool, nil
}

// cipherSuites returns the suites that a list names as OpenSSL or the IANA does,
// nil for an empty list. OpenSSL's words for groups of suites, such as HIGH,
// are not known: what they stand for changes with its version.
func cipherSuites(list string) (ids []uint16, err error) {
	if list == "" {
		return nil, nil
	}
	known := map[string]uint16{}
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[s.Name], known[openSSLName(s.Name)] = s.ID, s.ID
	}
	for name := range strings.SplitSeq(list, ":") {
		id, ok := known[name]
		if !ok {
			return nil, fmt.Errorf("%s: not a cipher suite that this program has; write names such as ECDHE-RSA-AES128-GCM-SHA256", name)
		}
		ids = append(ids, id)
	}
	return ids, nil
}

// openSSLName is what OpenSSL calls a suite of TLS 1.2 or before, such as
// ECDHE-RSA-AES128-GCM-SHA256 for TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256.
func openSSLName(name string) string {
	exchange, cipher, old := strings.Cut(strings.TrimPrefix(name, "TLS_"), "_WITH_")
	if !old {
		return name // of TLS 1.3, which has one name for both
	}
	if exchange != "RSA" {
		cipher = exchange + "_" + cipher
	}
	return strings.NewReplacer(
		"AES_", "AES", "3DES_EDE_CBC", "DES-CBC3", "_CBC", "", "CHACHA20_POLY1305_SHA256", "CHACHA20-POLY1305", "RC4_128", "RC4", "_", "-",
	).Replace(cipher)
}
