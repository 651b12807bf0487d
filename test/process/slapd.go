//go:build unix

package process

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"midge/internal/program"
)

// Slapd is Debian's LDAP server.
type Slapd struct {
	*Process
	Plain, Secure string // URLs: ldap://, which has StartTLS, and ldaps://

	t       *testing.T
	command []string // that starts it
}

// slapdConfig is its configuration: people can bind and read themselves, and cn=search
// reads all.
const slapdConfig = `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile %[2]s
TLSCertificateKeyFile %[3]s
database mdb
directory %[1]s/db
suffix dc=example,dc=org
overlay memberof
access to attrs=userPassword by anonymous auth
access to * by dn.exact=cn=search,dc=example,dc=org read by self read
`

// StartSlapd runs slapd with the entries of an LDIF, and returns when it answers. cert and
// key are the names of its files. It is killed at the end of the test.
func StartSlapd(t *testing.T, cert, key, ldif string) *Slapd {
	t.Helper()
	for _, name := range []string{"slapd", "slapadd"} {
		if _, err := sbin(name); err != nil {
			t.Fatalf("%v (test/install-tools installs what the tests need: slapd)", err)
		}
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "slapd.conf")
	for name, text := range map[string]string{config: fmt.Sprintf(slapdConfig, dir, cert, key), filepath.Join(dir, "ldif"): ldif} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, "db"), 0o700); err != nil {
		t.Fatal(err)
	}
	add, _ := sbin("slapadd")
	if out, err := exec.Command(add, "-f", config, "-l", filepath.Join(dir, "ldif")).CombinedOutput(); err != nil {
		t.Fatalf("slapadd: %v\n%s", err, out)
	}
	for range 5 {
		ports, err := program.Ports(2)
		if err != nil {
			t.Fatal(err)
		}
		s := &Slapd{Plain: "ldap://127.0.0.1:" + ports[0], Secure: "ldaps://127.0.0.1:" + ports[1], t: t}
		name, _ := sbin("slapd")
		s.command = []string{name, "-d", "none", "-f", config, "-h", s.Plain + " " + s.Secure}
		if s.Restart() {
			return s
		}
	}
	t.Fatal("slapd does not start")
	return nil
}

// Restart starts slapd with what it has on disk, and reports whether it listens. It does not
// if somebody else has its port.
func (s *Slapd) Restart() bool {
	s.t.Helper()
	s.Process = start(s.t, exec.Command(s.command[0], s.command[1:]...))
	for end := time.Now().Add(patience); !s.Ended(); time.Sleep(20 * time.Millisecond) {
		if c, err := net.Dial("tcp", strings.TrimPrefix(s.Secure, "ldaps://")); err == nil {
			c.Close()
			return true
		}
		if time.Now().After(end) {
			s.t.Fatalf("slapd does not listen within %v\n%s", patience, s.Log())
		}
	}
	return false
}

// sbin finds a program that only root has in its path.
func sbin(name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	return exec.LookPath("/usr/sbin/" + name)
}
