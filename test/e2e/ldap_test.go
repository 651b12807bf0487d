//go:build integration && linux

package e2e

import (
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"midge/internal/packet"
	"midge/internal/program"
	"midge/test/process"
)

// directory are people of a directory, with passwords in the clear, and a group. uid=evil
// is what an injection would find.
const directory = `dn: dc=example,dc=org
objectClass: domain
dc: example

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

dn: cn=search,dc=example,dc=org
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: search
userPassword: swordfish

dn: uid=alice,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: alice
cn: Alice
sn: Liddell
userPassword: wonderland
memberOf: cn=plant,ou=people,dc=example,dc=org

dn: uid=bob,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: bob
cn: Bob
sn: Builder
userPassword: builder

dn: uid=a\2Cb (c)*,ou=people,dc=example,dc=org
objectClass: inetOrgPerson
uid: a,b (c)*
cn: Odd
sn: Odd
userPassword: odd

dn: cn=plant,ou=people,dc=example,dc=org
objectClass: groupOfNames
cn: plant
member: uid=alice,ou=people,dc=example,dc=org
`

// signIn connects, and returns the reason code of CONNACK, and the connection.
func signIn(t *testing.T, port, user, password string) (packet.ReasonCode, net.Conn) {
	t.Helper()
	c := sendConnect(t, port, user, password)
	return connackOf(t, c), c
}

func connackOf(t *testing.T, c net.Conn) packet.ReasonCode {
	t.Helper()
	return packet.ReasonCode(readPacket(t, c)[1])
}

// sendConnect sends CONNECT.
func sendConnect(t *testing.T, port, user, password string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", "127.0.0.1:"+port, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	connect := packet.Connect{Version: packet.V5, CleanStart: true, UserName: []byte(user), Password: []byte(password)}
	if _, err := c.Write(connect.Append(nil)); err != nil {
		t.Fatal(err)
	}
	return c
}

// readPacket reads a packet, and returns its body of less than 128 bytes.
func readPacket(t *testing.T, c net.Conn) (body []byte) {
	t.Helper()
	head := make([]byte, 2)
	if _, err := io.ReadFull(c, head); err != nil {
		t.Fatal(err)
	}
	body = make([]byte, head[1]&0x7f)
	if _, err := io.ReadFull(c, body); err != nil {
		t.Fatal(err)
	}
	return body
}

// stop stops all threads of a process, and returns when they have stopped.
func stop(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	stopped := func(thread string) bool {
		text, err := os.ReadFile(thread)
		return err != nil || strings.Contains(string(text), "\nState:\tT") // it may have ended
	}
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(threads, func(thread string) bool { return !stopped(thread) }) {
			return
		}
		if time.Now().After(end) {
			t.Fatal("it does not stop")
		}
	}
}

// TestLDAP has Debian's slapd look at passwords, in three ways by three listeners. One that
// stops answering delays nobody else, and one that comes back is asked again.
func TestLDAP(t *testing.T) {
	dir := t.TempDir()
	if status, _, errs := midge(t, dir, nil, "cert", "dev"); status != 0 {
		t.Fatal(errs)
	}
	cert := func(name string) string { return filepath.Join(dir, "certs", name) }
	s := process.StartSlapd(t, cert("server.pem"), cert("server-key.pem"), directory)
	ports, err := program.Ports(4)
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`auth.ldap.timeout = "1s"
acl.file = "acl"

[[listener]]
address = "tcp://127.0.0.1:%s"
auth.ldap.url = %q
auth.ldap.bind_dn = "uid=%%u,ou=people,dc=example,dc=org"

[[listener]]
address = "tcp://127.0.0.1:%s"
auth.ldap.url = %q
auth.ldap.starttls = true
auth.ldap.ca = ["certs/ca.pem"]
auth.ldap.search_base = "dc=example,dc=org"
auth.ldap.search_filter = "(&(objectClass=inetOrgPerson)(uid=%%u))"
auth.ldap.search_dn = "cn=search,dc=example,dc=org"
auth.ldap.search_password_file = "secret"
auth.ldap.group_attribute = "memberOf"
auth.ldap.user_attribute = "uid"

[[listener]]
address = "tcp://127.0.0.1:%s"
auth.ldap.url = %q
auth.ldap.ca = ["certs/ca.pem"]
auth.ldap.bind_dn = "uid=%%u,ou=people,dc=example,dc=org"
auth.ldap.group_attribute = "memberOf"
auth.ldap.user_attribute = "uid"

[[listener]]
address = "tcp://127.0.0.1:%s"
allow_anonymous = true
`, ports[0], s.Plain, ports[1], s.Plain, ports[2], s.Secure, ports[3])
	for name, text := range map[string]string{"midge.toml": text, "secret": "swordfish\n", "acl": "allow group=plant publish plant/%u\nallow user=alice publish own\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(binary, "serve", "--memory")
	cmd.Dir = dir
	p := &broker{process.Serve(t, cmd), t}

	const wrong, busy = packet.BadUserNameOrPassword, packet.ServerBusy
	for i, way := range []string{"bind", "search", "ldaps"} {
		for _, tt := range []struct {
			user, password string
			code           packet.ReasonCode
		}{
			{"alice", "wonderland", packet.Success},
			{"ALICE", "wonderland", packet.Success}, // as directories have it
			{"bob", "builder", packet.Success},
			{"a,b (c)*", "odd", packet.Success},
			{"alice", "Wonderland", wrong},
			{"alice", "builder", wrong},
			{"alice", "", wrong}, // a bind without a password succeeds
			{"nobody", "wonderland", wrong},
			{"*", "wonderland", wrong},
			{"ali*", "wonderland", wrong},
			{"alice)(uid=*", "wonderland", wrong},
			{"x)(|(uid=alice)", "wonderland", wrong},
			{"alice,ou=people,dc=example,dc=org", "wonderland", wrong},
			{"alice+cn=Alice", "wonderland", wrong},
			{"alice\x01", "wonderland", wrong},
			{"", "wonderland", wrong},
		} {
			if code, _ := signIn(t, ports[i], tt.user, tt.password); code != tt.code {
				t.Errorf("%s: %q, %q: %v, want %v", way, tt.user, tt.password, code, tt.code)
			}
		}
	}
	for i, want := range []map[string]bool{
		{"alice own": true, "alice plant/alice": false, "ALICE own": false},
		{"alice own": true, "alice plant/alice": true, "ALICE own": true, "ALICE plant/alice": true},
		{"alice own": true, "alice plant/alice": true, "ALICE own": true},
	} {
		for who, may := range want {
			var user, topic string
			fmt.Sscan(who, &user, &topic)
			_, c := signIn(t, ports[i], user, "wonderland")
			m := packet.Publish{Topic: []byte(topic), QoS: 1, ID: 1}
			if _, err := c.Write(m.Append(nil, packet.V5)); err != nil {
				t.Fatal(err)
			}
			if body := readPacket(t, c); (len(body) < 3 || body[2] < 0x80) != may {
				t.Errorf("listener %d: %s: PUBACK % x, want %t", i, who, body, may)
			}
		}
	}

	// Stopped, it takes connections and answers none.
	stop(t, s.PID())
	var waiting []net.Conn
	for range 20 {
		waiting = append(waiting, sendConnect(t, ports[0], "alice", "wonderland"))
	}
	for range 50 {
		if code, c := signIn(t, ports[3], "", ""); code != packet.Success {
			t.Errorf("another listener: %v", code)
		} else {
			c.Close()
		}
	}
	for _, c := range waiting {
		if code := connackOf(t, c); code != busy {
			t.Errorf("while slapd is stopped: %v", code)
		}
	}
	s.Cmd.Process.Signal(syscall.SIGCONT)
	if code, _ := signIn(t, ports[0], "alice", "wonderland"); code != packet.Success {
		t.Errorf("after it: %v", code)
	}
	s.Kill()
	<-s.Done()
	if code, _ := signIn(t, ports[1], "alice", "wonderland"); code != busy {
		t.Errorf("without slapd: %v", code)
	}
	if !s.Restart() {
		t.Fatal("slapd does not start again")
	}
	for i := range 3 {
		if code, _ := signIn(t, ports[i], "alice", "wonderland"); code != packet.Success {
			t.Errorf("slapd is back, listener %d: %v", i, code)
		}
	}
	p.Kill()
}
