package clients

import (
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/topic"
)

// connectFlags are the flags by which pub, sub, shell and top say where to
// connect, and as whom. Letters, names and meanings are those of
// mosquitto_pub.
type connectFlags struct {
	flags *pflag.FlagSet

	host, url, unix, bind, proxy string
	port                         uint16
	ws, srv                      bool
	wsPath                       string
	version                      string

	id, idPrefix, username, password, passwordFile, authMethod string
	persistent                                                 bool
	sessionExpiry                                              string
	keepAlive                                                  uint16
	timeout                                                    time.Duration

	willTopic, willPayload string
	willQoS                uint8
	willRetain             bool

	caFile, caPath, cert, key, tlsVersion, tlsALPN, ciphers string
	insecure, systemRoots                                   bool

	properties properties
}

// addConnectFlags adds the flags to a command. --help loses its letter to
// --host.
func addConnectFlags(f *pflag.FlagSet) *connectFlags {
	c := &connectFlags{flags: f}
	f.Bool("help", false, "show this help")
	f.StringVarP(&c.host, "host", "h", "localhost", "connect to this `host`")
	f.Uint16VarP(&c.port, "port", "p", 0, "connect to this `port` (default 1883, or 8883 with TLS; 80 and 443 with --ws)")
	f.StringVarP(&c.url, "url", "L", "", "host, port, user, password and topic in one `URL`: mqtt(s)://[user[:password]@]host[:port][/topic]; of ws(s):// the path is that of the WebSocket")
	f.StringVar(&c.unix, "unix", "", "connect to the Unix socket at `path`")
	f.StringVarP(&c.bind, "bind", "A", "", "connect from this local IP `address`")
	f.StringVar(&c.proxy, "proxy", "", "connect through the SOCKS5 proxy at `URL`: socks5h://[user[:password]@]host[:port]; it looks up the host")
	f.Bool("nodelay", true, "nothing waits for further packets; it is always so")
	f.BoolVarP(&c.srv, "srv", "S", false, "look up the SRV record of the host's domain")
	f.BoolVar(&c.ws, "ws", false, "connect over WebSocket")
	f.StringVar(&c.wsPath, "ws-path", "/mqtt", "the WebSocket's `path`")
	f.StringVarP(&c.version, "protocol-version", "V", "5", "MQTT `version`: 5, 311 or 31 (also 5.0, 3.1.1, 3.1, mqttv5, mqttv311, mqttv31)")

	f.StringVarP(&c.id, "id", "i", "", "client `identifier` (default: the broker chooses)")
	f.StringVarP(&c.idPrefix, "id-prefix", "I", "", "client identifier of this `prefix` and the process number")
	f.StringVarP(&c.username, "username", "u", "", "user `name`")
	f.StringVarP(&c.password, "pw", "P", "", "`password`; others can see it in the list of processes: see --pw-file")
	f.StringVar(&c.passwordFile, "pw-file", "", "read the password from the first line of `file`")
	f.StringVar(&c.authMethod, "auth-method", "", "5.0: show who this is by the `method` SCRAM-SHA-256, which does not send the password, or OAUTH2-JWT, whose password is a token")
	f.BoolVarP(&c.persistent, "disable-clean-session", "c", false, "keep the session: it goes on when the client comes back (needs -i)")
	f.StringVarP(&c.sessionExpiry, "session-expiry-interval", "x", "", "the session lives this many `seconds` after the connection, -1 for ever (default: 0, with -c for ever); 5.0")
	f.Uint16VarP(&c.keepAlive, "keepalive", "k", 60, "Keep Alive in `seconds`; 0 turns it off")
	f.DurationVar(&c.timeout, "connect-timeout", 10*time.Second, "give up connecting after this `time`")

	f.StringVar(&c.willTopic, "will-topic", "", "the will's `topic`")
	f.StringVar(&c.willPayload, "will-payload", "", "the will's `payload`")
	f.Uint8Var(&c.willQoS, "will-qos", 0, "the will's `QoS`")
	f.BoolVar(&c.willRetain, "will-retain", false, "retain the will")

	f.StringVar(&c.caFile, "cafile", "", "TLS: trust the authorities of this PEM `file`")
	f.StringVar(&c.caPath, "capath", "", "TLS: trust the authorities of the PEM files in `directory`")
	f.BoolVar(&c.systemRoots, "tls-use-os-certs", false, "TLS: trust the authorities that the system trusts, with the default port of TLS")
	f.StringVar(&c.cert, "cert", "", "TLS: show the client certificate of this PEM `file`")
	f.StringVar(&c.key, "key", "", "TLS: the key of --cert, a PEM `file`")
	f.BoolVar(&c.insecure, "insecure", false, "TLS: accept any certificate; for tests only")
	f.StringVar(&c.tlsVersion, "tls-version", "", "TLS: at least this `version`: tlsv1.3, tlsv1.2 (default) or tlsv1.1")
	f.StringVar(&c.ciphers, "ciphers", "", "TLS 1.2 and before: offer these cipher suites only, a `list` of OpenSSL's names with : between them")
	f.StringVar(&c.tlsALPN, "tls-alpn", "", "TLS: offer this application `protocol`")

	f.StringArrayVarP(&c.properties.set, "property", "D", nil, "5.0 `property`, as command identifier value: connect receive-maximum 20, will user-property key value; repeatable")
	return c
}

// options are the options that the flags stand for. topic is the one of --url,
// "" if it has none. -D fills in the packets of stages too, which the command
// sends besides CONNECT.
func (c *connectFlags) options(stages map[string]stage) (o client.Options, topic string, err error) {
	o.LocalAddress, o.Proxy = c.bind, c.proxy
	o.ClientID, o.CleanStart, o.KeepAlive = c.id, !c.persistent, time.Duration(c.keepAlive)*time.Second
	if o.Version, err = version(c.version); err != nil {
		return o, "", err
	}
	for _, step := range []func(*client.Options) error{c.identity, c.expiry, c.will, c.tls} {
		if err := step(&o); err != nil {
			return o, "", err
		}
	}
	if err := c.applyProperties(&o, stages); err != nil {
		return o, "", err
	}
	if o.Address, topic, err = c.address(&o); err != nil {
		return o, "", err
	}
	return o, topic, o.Check()
}

func version(text string) (packet.Version, error) {
	switch strings.TrimPrefix(text, "mqttv") {
	case "5", "5.0":
		return packet.V5, nil
	case "311", "3.1.1", "4":
		return packet.V311, nil
	case "31", "3.1", "3":
		return packet.V31, nil
	}
	return 0, fmt.Errorf("-V %s: write 5, 311 or 31", text)
}

func (c *connectFlags) identity(o *client.Options) error {
	if c.idPrefix != "" {
		if c.id != "" {
			return errors.New("-i and -I exclude each other")
		}
		o.ClientID = c.idPrefix + strconv.Itoa(os.Getpid())
	}
	if o.ClientID == "" && o.Version == packet.V31 {
		const maxLength = 23 // characters of 3.1, which wants an identifier
		o.ClientID = ("midge-" + rand.Text())[:maxLength]
	}
	if o.ClientID == "" && c.persistent {
		return errors.New("-c keeps a session, which needs the name that -i gives")
	}
	if c.authMethod != "" && o.Version != packet.V5 {
		return errors.New("--auth-method needs MQTT 5.0")
	}
	o.AuthenticationMethod = c.authMethod
	o.Username, o.HasUsername = c.username, c.flags.Changed("username")
	o.Password, o.HasPassword = []byte(c.password), c.flags.Changed("pw")
	if c.passwordFile == "" {
		return nil
	}
	text, err := os.ReadFile(c.passwordFile)
	if err != nil {
		return fmt.Errorf("--pw-file: %w", err)
	}
	line, _, _ := strings.Cut(string(text), "\n")
	o.Password, o.HasPassword = []byte(strings.TrimSuffix(line, "\r")), true
	return nil
}

func (c *connectFlags) expiry(o *client.Options) error {
	switch c.sessionExpiry {
	case "":
		if c.persistent {
			o.SessionExpiry = math.MaxUint32
		}
		return nil
	case "-1", "∞":
		o.SessionExpiry = math.MaxUint32
		return nil
	}
	if err := whole(c.sessionExpiry, &o.SessionExpiry); err != nil {
		return fmt.Errorf("-x %s: %w, or -1", c.sessionExpiry, err)
	}
	return nil
}

func (c *connectFlags) will(o *client.Options) error {
	if c.willTopic == "" {
		for _, name := range []string{"will-payload", "will-qos", "will-retain"} {
			if c.flags.Changed(name) {
				return fmt.Errorf("--%s needs --will-topic", name)
			}
		}
		return nil
	}
	if c.willQoS > 2 {
		return fmt.Errorf("--will-qos %d: it is 0, 1 or 2", c.willQoS)
	}
	if err := validName(c.willTopic); err != nil {
		return fmt.Errorf("--will-topic %s: %w", c.willTopic, err)
	}
	o.Will = &client.Will{Message: client.Message{Topic: c.willTopic, Payload: []byte(c.willPayload), QoS: packet.QoS(c.willQoS), Retain: c.willRetain}}
	return nil
}

// validName checks the name of a topic.
func validName(name string) error {
	return topic.ValidName([]byte(name), topic.Limits{})
}

// applyProperties applies -D to CONNECT, the will and the packets of stages.
func (c *connectFlags) applyProperties(o *client.Options, stages map[string]stage) error {
	if len(c.properties.set) > 0 && o.Version != packet.V5 {
		return errors.New("-D needs MQTT 5.0, and -V asks for another")
	}
	all := map[string]stage{"connect": {connect: o, user: &o.UserProperties}}
	if w := o.Will; w != nil {
		all["will"] = stage{message: &w.Message, delay: &w.Delay, user: &w.UserProperties}
	}
	maps.Copy(all, stages)
	return c.properties.apply(all)
}

// address puts the address together, of --url or of the flags.
func (c *connectFlags) address(o *client.Options) (address, topic string, err error) {
	if c.unix != "" {
		return "unix://" + c.unix, "", nil
	}
	if c.url != "" {
		return c.split(o)
	}
	secured := o.TLS != nil || c.port == 8883
	host, port := c.host, int(c.port)
	if c.srv {
		if host, port, err = lookupService(c.host, secured); err != nil {
			return "", "", err
		}
	}
	u := url.URL{Scheme: scheme(c.ws, secured), Host: host}
	if strings.Contains(host, ":") {
		u.Host = "[" + host + "]"
	}
	if port != 0 {
		u.Host = net.JoinHostPort(host, strconv.Itoa(port))
	}
	if c.ws {
		u.Path = "/" + strings.TrimPrefix(c.wsPath, "/")
	}
	return u.String(), "", nil
}

func scheme(ws, secured bool) string {
	switch {
	case ws && secured:
		return "wss"
	case ws:
		return "ws"
	case secured:
		return "mqtts"
	}
	return "mqtt"
}

// split takes user, password and topic off --url.
func (c *connectFlags) split(o *client.Options) (address, topic string, err error) {
	u, err := url.Parse(c.url)
	if err != nil || u.Host == "" {
		return "", "", fmt.Errorf("-L %s: write mqtt(s)://[user[:password]@]host[:port][/topic]", c.url)
	}
	if c.flags.Changed("host") || c.flags.Changed("port") {
		return "", "", errors.New("-L has host and port: leave out -h and -p")
	}
	if u.User != nil {
		o.Username, o.HasUsername = u.User.Username(), true
		if password, ok := u.User.Password(); ok {
			o.Password, o.HasPassword = []byte(password), true
		}
		u.User = nil
	}
	if o.TLS != nil && (u.Scheme == "mqtt" || u.Scheme == "tcp" || u.Scheme == "ws") {
		return "", "", fmt.Errorf("-L %s: it has no TLS, which other flags ask for; write %ss://", c.url, strings.Replace(u.Scheme, "tcp", "mqtt", 1))
	}
	if u.Scheme != "ws" && u.Scheme != "wss" {
		topic, u.Path = strings.TrimPrefix(u.Path, "/"), ""
		if u.Fragment != "" || strings.HasSuffix(c.url, "#") { // a filter, not a fragment
			topic += "#" + u.Fragment
			u.Fragment = ""
		}
	}
	return u.String(), topic, nil
}

// lookupService finds host and port of a domain's broker.
func lookupService(domain string, secured bool) (host string, port int, err error) {
	service := "mqtt"
	if secured {
		service = "secure-mqtt"
	}
	_, found, err := net.LookupSRV(service, "tcp", domain)
	if err != nil {
		return "", 0, fmt.Errorf("-S: %w", err)
	}
	if len(found) == 0 {
		return "", 0, fmt.Errorf("-S: %s has no record _%s._tcp", domain, service)
	}
	return strings.TrimSuffix(found[0].Target, "."), int(found[0].Port), nil
}
