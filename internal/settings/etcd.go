package settings

import (
	"fmt"
	"net/url"
	"strings"
	"time"
)

// Etcd says where settings are kept beside the files.
type Etcd struct {
	Endpoints    []string
	Prefix       string
	Optional     bool
	User         string
	Password     string
	PasswordFile string
	CA           string
	Certificate  string
	Key          string
	Timeout      time.Duration
}

// Root is the prefix with a slash at its end: that of all keys.
func (e *Etcd) Root() string { return strings.TrimSuffix(e.Prefix, "/") + "/" }

func etcd() Section {
	return Section{Name: "config.etcd", Doc: "Settings that are kept in etcd, beside the file: see [configuration from etcd](../configuration.md#configuration-from-etcd). These can't stand there themselves.", Settings: []Setting{
		{
			Key: "config.etcd.endpoints", At: func(c *Settings) any { return &c.Etcd.Endpoints },
			Default: []string{}, Zero: "nothing is read from etcd", Check: checkEndpoint,
			Doc:    "The members of the etcd cluster, as URLs such as `http://127.0.0.1:2379` or `https://etcd-1.example.org:2379`. They are tried in turn; the one that answers is used until it no longer does. It takes etcd 3.4 or later with its JSON gateway, which is on unless `--enable-grpc-gateway=false` is set.",
			Reason: "Most brokers have a file.",
		}, {
			Key: "config.etcd.prefix", At: func(c *Settings) any { return &c.Etcd.Prefix },
			Default: "/midge/", Check: checkPath,
			Doc:    "What the keys begin with. The rest is the key of the setting with slashes for dots, such as `/midge/limits/connections`.",
			Reason: "Other programs have their keys in the same etcd.",
		}, {
			Key: "config.etcd.optional", At: func(c *Settings) any { return &c.Etcd.Optional },
			Default: false,
			Doc:     "Starts without etcd if none of its members answers: with what the file, the environment and flags have, until one does. Otherwise the start fails.",
			Reason:  "The keys may be what keeps strangers out.",
		}, {
			Key: "config.etcd.user", At: func(c *Settings) any { return &c.Etcd.User },
			Default: "", Zero: "etcd asks for no password",
			Doc:    "The name that the broker has for etcd.",
			Reason: "etcd asks nobody unless it is told to.",
		}, {
			Key: "config.etcd.password", At: func(c *Settings) any { return &c.Etcd.Password },
			Default: "", Zero: "it is in `config.etcd.password_file`", Secret: true,
			Doc:    "The password for etcd.",
			Reason: "There is no password that is right for all.",
		}, {
			Key: "config.etcd.password_file", At: func(c *Settings) any { return &c.Etcd.PasswordFile },
			Default: "", Zero: "there is none",
			Doc:    "A file whose first line is the password for etcd. Nobody but the owner and the group may read it.",
			Reason: "Only you know where it is.",
		}, {
			Key: "config.etcd.ca", At: func(c *Settings) any { return &c.Etcd.CA },
			Default: "", Zero: "those of the system",
			Doc:    "A PEM file with the authorities that the certificates of etcd come from, for `https://`.",
			Reason: "The system knows the public ones.",
		}, {
			Key: "config.etcd.certificate", At: func(c *Settings) any { return &c.Etcd.Certificate },
			Default: "", Zero: "none is shown",
			Doc:    "A PEM file with the certificate that the broker shows to etcd. It lets the broker connect; its name is no user, since the gateway of etcd knows users by their password only.",
			Reason: "etcd asks for none unless it is told to.",
		}, {
			Key: "config.etcd.key", At: func(c *Settings) any { return &c.Etcd.Key },
			Default: "", Zero: "it is in the file of `config.etcd.certificate`",
			Doc:    "A PEM file with the private key of that. Nobody but the owner and the group may read it.",
			Reason: "Certificates and keys come as pairs of files.",
		}, {
			Key: "config.etcd.timeout", At: func(c *Settings) any { return &c.Etcd.Timeout },
			Default: 5 * time.Second, Min: int64(100 * time.Millisecond), Max: int64(5 * time.Minute),
			Doc:    "How long a member of the cluster may take for an answer before the next one is asked.",
			Reason: "An election, in which none of them answers, takes one to two seconds.",
		},
	}}
}

func checkEndpoint(text string) error {
	u, err := url.Parse(text)
	switch {
	case strings.Contains(text, "@"):
		return fmt.Errorf("a URL with a user name; write config.etcd.user and config.etcd.password_file instead")
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "":
		return fmt.Errorf("%q is no URL of etcd; write such as \"http://127.0.0.1:2379\"", text)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return fmt.Errorf("%q: nothing may stand behind the port", text)
	}
	return nil
}

func checkPath(text string) error {
	if strings.HasPrefix(text, "/") {
		return nil
	}
	return fmt.Errorf("%q does not begin with a slash", text)
}
