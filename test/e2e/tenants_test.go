//go:build integration && unix

package e2e

import (
	"testing"

	"midge/internal/packet"
)

// TestTenants gives each user a mount point, and kills the broker: what each has left there is
// still its own.
func TestTenants(t *testing.T) {
	eachEngine(t, func(t *testing.T, engine string) {
		dir := t.TempDir()
		users := []string{"alice", "bob"}
		for i, user := range users {
			flags := [][]string{{"--create"}, nil}[i]
			args := append(append([]string{"passwd", "--hash", "bcrypt"}, flags...), "--batch", "passwords", user, "secret of "+user)
			if status, _, errs := midge(t, dir, nil, args...); status != 0 {
				t.Fatal(errs)
			}
		}
		args := []string{"--set", engine, "--set", "auth.password_file=passwords", "--set", "mount_point=tenants/%u/"}
		p := serveIn(t, dir, args...)
		as := func(user string, change func(*packet.Connect)) func(*packet.Connect) {
			return func(c *packet.Connect) {
				c.UserName, c.Password = []byte(user), []byte("secret of "+user)
				if change != nil {
					change(c)
				}
			}
		}
		for _, user := range users {
			sub := connect(t, p, packet.V5, "sub", as(user, lasting(3600)))
			sub.subscribe("#", 1)
			sub.conn.Close()
			member := connect(t, p, packet.V311, "member", as(user, func(c *packet.Connect) { c.CleanStart = false }))
			member.subscribe("$share/g/q/+", 1)
			member.conn.Close()
			connect(t, p, packet.V5, "dying", as(user, func(c *packet.Connect) {
				c.HasWill = true
				c.Will = packet.Will{Topic: []byte("will"), Payload: []byte("will of " + user), QoS: 1, Retain: true}
			}))
			pub := connect(t, p, packet.V5, "pub", as(user, nil))
			pub.exchange(packet.Publish{Topic: []byte("q/1"), Payload: []byte("for " + user), Retain: true})
			pub.exchange(packet.Publish{Topic: []byte("$hidden"), Payload: []byte("x")})
		}
		p.Kill()

		p = serveIn(t, dir, args...)
		for _, user := range users {
			sub := connect(t, p, packet.V5, "sub", as(user, lasting(3600)))
			if !sub.kept {
				t.Error("the session is gone")
			}
			for _, want := range []string{"q/1 for " + user, "will will of " + user} {
				topic, payload := sub.receive()
				if topic+" "+payload != want {
					t.Errorf("%s: %s %s, want %s", user, topic, payload, want)
				}
			}
			member := connect(t, p, packet.V311, "member", as(user, func(c *packet.Connect) { c.CleanStart = false }))
			member.wants("for " + user)
			fresh := connect(t, p, packet.V31, "fresh", as(user, nil))
			fresh.subscribe("+", 0)
			fresh.wants("will of " + user)
			fresh.subscribe("q/#", 0)
			fresh.wants("for " + user)
		}
	})
}
