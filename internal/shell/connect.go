package shell

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"midge/internal/client"
	"midge/internal/packet"
)

func connectCommand() command {
	return command{
		name: "connect", args: "[CLIENT_ID]", max: 1,
		short: "Connect a client, which becomes the current one",
		long: `Without a client id the broker assigns one, or, before 5.0, the shell makes one up. A client that has lost its
connection is connected anew with the options of before, which those of the line change. Options that you always need
can be set once, such as 'set address mqtts://broker.example'; the flags of midge shell do the same.`,
		options: connectOptions(),
		examples: []string{
			"connect alice",
			"connect alice --address mqtts://broker.example --cafile ca.pem --user alice --ask-password",
			"connect sensor-1 --protocol-version 3.1.1 --keep-session",
			"connect sensor-1 --will-topic sensors/1/state --will-payload lost --will-qos 1 --will-retain",
		},
		complete: func(s *Shell, _ []string, _ string) []string { return s.clients.names() },
		run:      connect,
	}
}

func connect(ctx context.Context, s *Shell, in *input) error {
	r := s.request()
	defaults := s.defaults
	r.connect = s.config.Connect
	if lost := s.clients.named(in.text(0)); lost != nil { // what it was connected with holds on
		r.connect, defaults = lost.options, nil
	}
	r.connect.UserProperties = slices.Clip(r.connect.UserProperties)
	if w := r.connect.Will; w != nil {
		r.will = *w
		r.will.UserProperties = slices.Clip(w.UserProperties)
	}
	if err := in.fill(r, defaults); err != nil {
		return err
	}
	if err := s.completeOptions(r, in.text(0)); err != nil {
		return err
	}
	name := r.connect.ClientID
	old := s.clients.named(name)
	if old != nil {
		if _, _, lost := old.inbox.figures(); lost == nil {
			return fmt.Errorf("%s is connected already; 'disconnect %[1]s' ends that", name)
		}
	}
	one := &connection{name: name, inbox: newInbox()}
	r.connect.Received = func(m client.Message) { s.received(one.inbox, m) }
	r.connect.Closed = func(err error) { s.lost(one.inbox, err) }
	one.options = r.connect
	one.inbox.setName(name)

	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var err error
	if one.conn, err = s.dial(ctx, r.connect); err != nil {
		return s.explain(ctx, err, r.timeout)
	}
	c := one.conn.Connected()
	if c.ClientID != "" {
		one.name = c.ClientID
		one.inbox.setName(c.ClientID)
	}
	if old != nil {
		s.leave(old)
	}
	s.clients.add(one)
	s.printf("%s: connected to %s, MQTT %s, %s\n", printable(one.name), one.address(), versionName(one.options.Version), sessionState(c))
	return nil
}

// completeOptions adds to the options of the line what follows from them.
func (s *Shell) completeOptions(r *request, name string) (err error) {
	o := &r.connect
	if name != "" {
		o.ClientID = name
	}
	if o.Version == 0 {
		o.Version = packet.V5
	}
	if o.ClientID == "" && o.Version != packet.V5 {
		o.ClientID = s.unusedName()
	}
	if r.will.Topic != "" {
		o.Will = &r.will
	} else if len(r.will.Payload) > 0 || r.will.QoS > 0 || r.will.Retain {
		return errors.New("connect: a will needs --will-topic")
	}
	if o.TLS, err = r.tls.config(o.TLS); err != nil {
		return fmt.Errorf("connect: %w", err)
	}
	if r.askPassword {
		password, err := s.console.readSecret("Password: ")
		if err != nil {
			return fmt.Errorf("connect: read the password: %w", err)
		}
		o.Password, o.HasPassword = []byte(password), true
	}
	return nil
}

// unusedName makes up a client id; the time keeps shells apart.
func (s *Shell) unusedName() string {
	s.made++
	return fmt.Sprintf("shell-%x-%d", s.now().UnixMilli()&0xffffffff, s.made)
}

func sessionState(c client.Connected) string {
	if c.SessionPresent {
		return "session resumed"
	}
	return "new session"
}

func disconnectCommand() command {
	return command{
		name: "disconnect", args: "[CLIENT_ID]", max: 1,
		short: "Disconnect a client, or the current one",
		long:  "The client that was used before becomes the current one.",
		options: []option{
			{
				name: "all", help: "disconnect all clients",
				set: func(r *request, v string) error { return toSwitch(&r.all, v) },
			},
			{
				name: "abort", help: "close the connection without DISCONNECT, as if the client crashed: the broker publishes the will",
				set: func(r *request, v string) error { return toSwitch(&r.abort, v) },
			},
			{
				name: "with-will", help: "have the broker publish the will (reason code 0x04; 5.0)",
				set: func(r *request, v string) error {
					with := false
					err := toSwitch(&with, v)
					r.disconnection.Reason = packet.Success
					if with {
						r.disconnection.Reason = packet.DisconnectWithWill
					}
					return err
				},
			},
			{
				name: "session-expiry", short: 'x', value: "SECONDS", help: "change how long the session is kept (5.0)",
				set: func(r *request, v string) error { return toExpiry(&r.disconnection.SessionExpiry, v) },
			},
			{
				name: "user-property", short: 'D', value: "KEY=VALUE", help: "user property; repeatable (5.0)",
				set: func(r *request, v string) error { return toProperty(&r.disconnection.UserProperties, v) },
			},
		},
		noDefaults: true,
		examples:   []string{"disconnect", "disconnect alice", "disconnect alice --abort", "disconnect --all"},
		complete:   func(s *Shell, _ []string, _ string) []string { return s.clients.names() },
		run:        disconnect,
	}
}

func disconnect(_ context.Context, s *Shell, in *input) error {
	r := s.request()
	if err := in.fill(r, nil); err != nil {
		return err
	}
	if r.all {
		if len(in.words) > 0 {
			return usagef("disconnect: a client id and --all contradict each other")
		}
		return s.disconnectAll(r)
	}
	one, err := s.clients.find(in.text(0))
	if err != nil {
		return err
	}
	return s.disconnect(one, r)
}

// disconnectAll ends all connections, as r says.
func (s *Shell) disconnectAll(r *request) error {
	var errs []error
	for _, one := range slices.Clone(s.clients.all) {
		errs = append(errs, s.disconnect(one, r))
	}
	return errors.Join(errs...)
}

func (s *Shell) disconnect(one *connection, r *request) error {
	if _, _, lost := one.inbox.figures(); lost != nil {
		s.leave(one)
		s.printf("%s: forgotten; its connection was lost\n", printable(one.name))
		return nil
	}
	one.inbox.close(errDisconnected)
	var err error
	if r.abort {
		one.conn.Close()
	} else {
		err = one.conn.Disconnect(r.disconnection)
	}
	s.leave(one)
	if err != nil {
		return fmt.Errorf("disconnect %s: %w", one.name, err)
	}
	verb := "disconnected"
	if r.abort {
		verb = "connection cut"
	}
	s.printf("%s: %s\n", printable(one.name), verb)
	return nil
}

// errDisconnected is why nothing comes from a client that the user disconnected.
var errDisconnected = errors.New("disconnected")

// leave forgets a client, and shows what it had received and nobody took.
func (s *Shell) leave(one *connection) {
	s.clients.remove(one)
	if !s.live {
		s.showRest(one)
	}
}

func useCommand() command {
	return command{
		name: "use", args: "CLIENT_ID", min: 1, max: 1,
		short:    "Make another client the current one",
		long:     "The prompt shows the current client; commands without --client act as it.",
		examples: []string{"use alice"},
		complete: func(s *Shell, _ []string, _ string) []string { return s.clients.names() },
		run: func(_ context.Context, s *Shell, in *input) error {
			one, err := s.clients.find(in.text(0))
			if err != nil {
				return err
			}
			s.clients.use(one)
			return nil
		},
	}
}

func statusCommand() command {
	return command{
		name: "status", args: "[CLIENT_ID]", max: 1,
		short: "Show the clients, or all about one",
		long: `Without a client id it lists the clients, the current one with a star. With one it also shows the client's
subscriptions, and what the broker said when it accepted the connection.`,
		examples: []string{"status", "status alice"},
		complete: func(s *Shell, _ []string, _ string) []string { return s.clients.names() },
		run: func(_ context.Context, s *Shell, in *input) error {
			if len(in.words) == 0 {
				s.print(s.listClients())
				return nil
			}
			one, err := s.clients.find(in.text(0))
			if err != nil {
				return err
			}
			s.print(one.describe(s.console.textWidth()))
			return nil
		},
	}
}

func (s *Shell) listClients() string {
	if len(s.clients.all) == 0 {
		return "no clients\n"
	}
	var b strings.Builder
	for _, one := range s.clients.all {
		mark := " "
		if one == s.clients.current() {
			mark = "*"
		}
		text := fmt.Sprintf("%s %s: %s", mark, printable(one.name), one.summary())
		b.WriteString(hang(text, s.console.textWidth(), "    ") + "\n")
	}
	return b.String()
}

// summary is the state of a client on one line.
func (c *connection) summary() string {
	received, waiting, lost := c.inbox.figures()
	state := "connected to " + c.address()
	if lost != nil {
		state = "lost its connection to " + c.address() + ": " + lost.Error()
	}
	return fmt.Sprintf("%s, MQTT %s, %d subscribed, %d published, %d received, %d not taken",
		state, versionName(c.options.Version), len(c.subscriptions), c.published, received, waiting)
}

func (c *connection) describe(width int) string {
	var b strings.Builder
	rows := [][2]string{{"client id", printable(c.name)}, {"state", c.summary()}}
	add := func(name, format string, args ...any) {
		rows = append(rows, [2]string{name, fmt.Sprintf(format, args...)})
	}
	said := c.conn.Connected()
	add("session", "%s", sessionState(said))
	add("keep alive", "%v", time.Duration(said.KeepAlive)*time.Second)
	if c.options.Version == packet.V5 {
		add("session expiry", "%s", expiryText(said.SessionExpiry))
		add("receive maximum", "%d", said.ReceiveMaximum)
		add("maximum QoS", "%d", said.MaximumQoS)
		if said.MaximumPacketSize > 0 {
			add("maximum packet", "%d bytes", said.MaximumPacketSize)
		}
		add("topic aliases", "%d", said.TopicAliasMaximum)
		add("available", "%s", available(said))
		for _, p := range said.UserProperties {
			add("user property", "%s=%s", quote(p.Key), quote(p.Value))
		}
	}
	for _, sub := range c.subscriptions {
		add("subscription", "%s, QoS %d", printable(sub.Filter), sub.QoS)
	}
	table(&b, rows, width)
	return b.String()
}

func expiryText(seconds uint32) string {
	switch seconds {
	case 0:
		return "with the connection"
	case 1<<32 - 1:
		return "never"
	}
	return (time.Duration(seconds) * time.Second).String()
}

// available lists the features that the broker does not exclude.
func available(c client.Connected) string {
	var all []string
	for _, f := range []struct {
		there bool
		name  string
	}{
		{c.RetainAvailable, "retain"},
		{c.WildcardsAvailable, "wildcards"},
		{c.IDsAvailable, "subscription identifiers"},
		{c.SharedAvailable, "shared subscriptions"},
	} {
		if f.there {
			all = append(all, f.name)
		}
	}
	if len(all) == 0 {
		return "no optional features"
	}
	return strings.Join(all, ", ")
}
