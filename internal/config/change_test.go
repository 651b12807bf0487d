package config

import (
	"strings"
	"testing"
)

// loadedFrom loads a file that is free of faults.
func loadedFrom(t *testing.T, file string, more ...File) *Loaded {
	t.Helper()
	l, err := Load(Sources{FileName: "f", File: []byte(file), More: more})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// TestFollow proves what holds after a change, and what is said of it.
func TestFollow(t *testing.T) {
	const plant = "[[listener]]\nname = \"plant\"\naddress = \"127.0.0.1:1884\"\n"
	for _, tt := range []struct {
		name, before, after string
		want                string // what is said
		holds               func(*Loaded) bool
	}{
		{"nothing", plant, plant, "", func(l *Loaded) bool { return len(l.Listeners) == 1 }},
		{
			"at run time", "", "[limits]\npacket_size = 2000", `limits.packet_size: "1MiB" is now "2000B"`,
			func(l *Loaded) bool { return l.Limits.PacketSize == 2000 && l.Listeners[0].Limits.PacketSize == 2000 },
		},
		{
			"needs a restart", "", "threads = 3", "threads: 0 is now 3; it needs a restart, and stays as it is until then",
			func(l *Loaded) bool { return l.Threads == 0 },
		},
		{
			"both", "threads = 3", "[sys]\ninterval = \"1s\"", "threads: 3 is now 0; it needs a restart, and stays as it is until then\nsys.interval: \"10s\" is now \"1s\"",
			func(l *Loaded) bool { return l.Threads == 3 && l.Sys.Interval == 1e9 },
		},
		{
			"an own limit", plant, plant + "limits.packet_size = 3000", `listener.plant.limits.packet_size: "1MiB" is now "3000B"`,
			func(l *Loaded) bool {
				return l.Limits.PacketSize == 1<<20 && l.Listeners[0].Limits.PacketSize == 3000 && l.Listeners[0].Sets("limits.packet_size")
			},
		},
		{
			"an own limit goes", plant + "limits.packet_size = 3000", plant, `listener.plant.limits.packet_size: "3000B" is now "1MiB"`,
			func(l *Loaded) bool {
				return l.Listeners[0].Limits.PacketSize == 1<<20 && !l.Listeners[0].Sets("limits.packet_size")
			},
		},
		{
			"a general limit that one has of its own", plant + "limits.packet_size = 3000", plant + "limits.packet_size = 3000\n[limits]\npacket_size = 5000", `limits.packet_size: "1MiB" is now "5000B"`,
			func(l *Loaded) bool { return l.Limits.PacketSize == 5000 && l.Listeners[0].Limits.PacketSize == 3000 },
		},
		{
			"another address", plant, strings.Replace(plant, "1884", "1885", 1), `listener.plant.address: "127.0.0.1:1884" is now "127.0.0.1:1885"`,
			func(l *Loaded) bool {
				return l.Listeners[0].Addresses[0].Port == "1885" && l.Listeners[0].Listener.Address == "127.0.0.1:1885"
			},
		},
		{
			"one more listener", plant, "[[listener]]\nname = \"new\"\naddress = \"127.0.0.1:7\"\n" + plant, `listener.new is new: 127.0.0.1:7`,
			func(l *Loaded) bool { return len(l.Listeners) == 2 && l.Listeners[0].Name() == "new" },
		},
		{
			"one less", "listen = [\"127.0.0.1:7\"]\n" + plant, "listen = [\"127.0.0.1:7\"]", "listener.plant is gone",
			func(l *Loaded) bool { return len(l.Listeners) == 1 && l.Listeners[0].Name() == "127.0.0.1:7" },
		},
		{
			"another order", plant + strings.NewReplacer("plant", "b", "1884", "5").Replace(plant), strings.NewReplacer("plant", "b", "1884", "5").Replace(plant) + plant, "",
			func(l *Loaded) bool { return l.Listeners[0].Name() == "b" && l.Listeners[1].Name() == "plant" },
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			now, changes := loadedFrom(t, tt.before).Follow(loadedFrom(t, tt.after))
			var said []string
			for _, c := range changes {
				said = append(said, c.String())
			}
			if got := strings.Join(said, "\n"); got != tt.want {
				t.Errorf("said\n%s\nwant\n%s", got, tt.want)
			}
			if !tt.holds(now) {
				t.Errorf("what holds is %+v with %+v", now.Settings, now.Listeners)
			}
		})
	}
}

// TestMoreFiles proves that later files win, that their faults have their names, and that a
// listener can stand in each.
func TestMoreFiles(t *testing.T) {
	l := loadedFrom(t, "threads = 1\n[limits]\npacket_size = 1000",
		File{"conf.d/10.toml", []byte("[[listener]]\naddress = \"127.0.0.1:1\"\nlimits.packet_size = 7000")},
		File{"conf.d/20.toml", []byte("threads = 2\n\n[[listener]]\naddress = \"127.0.0.1:2\"\n[listener.limits]\npacket_size = 8000")})
	if l.Threads != 2 || l.Origin("threads").String() != "conf.d/20.toml:1" || l.Limits.PacketSize != 1000 {
		t.Errorf("threads = %d from %v, packet_size = %v", l.Threads, l.Origin("threads"), l.Limits.PacketSize)
	}
	if len(l.Listeners) != 2 || l.Listeners[0].Limits.PacketSize != 7000 || l.Listeners[1].Limits.PacketSize != 8000 {
		t.Errorf("listeners %+v", l.Listeners)
	}
	_, err := Load(Sources{FileName: "f", File: []byte("threads = -1"), More: []File{{"g", []byte("thread = 1")}, {"h", []byte("\n[listener.limits]\npacket_size = 1")}}})
	const want = "f:1: threads: -1 is outside 0 to 1024\ng:1: thread: unknown key; did you mean threads?\nh:2: [listener.limits]: this belongs to the [[listener]] above it, and there is none"
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// TestFollowRestartOfListeners proves that what needs a restart stays as it is in listeners as
// well: those that were there, and new ones.
func TestFollowRestartOfListeners(t *testing.T) {
	load := func(file string) *Loaded {
		t.Helper()
		l, err := Load(Sources{File: []byte(file)})
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	before := load("listen = [\"tls://127.0.0.1:1\"]\ntls.acme.cache = \"before\"\n")
	now, _ := before.Follow(load("listen = [\"tls://127.0.0.1:1\", \"tls://127.0.0.1:2\"]\ntls.acme.cache = \"after\"\n"))
	for i := range now.Listeners {
		if got := now.Listeners[i].TLS.ACME.Cache; got != "before" {
			t.Errorf("%s has %q", now.Listeners[i].Name(), got)
		}
	}
	if len(now.Listeners) != 2 || now.TLS.ACME.Cache != "before" {
		t.Errorf("%d listeners, %q", len(now.Listeners), now.TLS.ACME.Cache)
	}
}
