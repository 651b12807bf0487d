package settings

import (
	"errors"
	"time"
)

// Auth says who may connect.
type Auth struct {
	PasswordFile     string
	CertificateUser  string
	JWTKeys          string
	JWTUser          string
	JWTGroups        string
	JWTRules         string
	JWTRefresh       time.Duration
	JWTCA            []string
	ClientID         string
	Attempts         int
	AttemptsInterval time.Duration
	Threads          int
	Queue            int
}

// Asks reports whether clients are asked who they are.
func (s *Settings) Asks() bool {
	return s.Auth.PasswordFile != "" || s.Auth.JWTKeys != "" || s.Hook.AuthURL != "" || s.LDAP.URL != "" || s.Auth.CertificateUser != NoCertificate
}

// NoCertificate is Auth.CertificateUser without names from certificates.
const NoCertificate = "none"

// LetsAnybodyIn reports whether clients are let in that don't say who they are.
func (s *Settings) LetsAnybodyIn() bool { return s.AllowAnonymous || !s.Asks() }

// checkKeys reports what is wrong with Auth.JWTKeys. Whoever can change keys on their way
// signs tokens.
func checkKeys(text string) error {
	if !IsURL(text) {
		return nil
	}
	if err := CheckURL(text); err != nil {
		return err
	}
	if InClear(text) {
		return errors.New("keys that come over http can be changed on the way; use https, or a file")
	}
	return nil
}

func authentication() Section {
	return Section{Name: "auth", Doc: "Who may connect: see [authentication](../authentication.md).", Settings: []Setting{
		{
			Key: "auth.password_file", At: func(c *Settings) any { return &c.Auth.PasswordFile },
			Default: "", PerListener: true, Zero: "nobody is asked for a password",
			Doc:    "A file of user names and hashed passwords, which `midge passwd` edits; those of `mosquitto_passwd` and `htpasswd -B` are read, too. Clients need a user name and a password that are in it. Who does not have any is refused, unless `allow_anonymous` is true. It is read again while the broker runs; a line that can't be read is left out, and the log says which.",
			Reason: "The first start needs no file: it serves this machine only.",
			Change: forNew,
		}, {
			Key: "auth.certificate_user", At: func(c *Settings) any { return &c.Auth.CertificateUser },
			Default: NoCertificate, Words: []string{NoCertificate, "cn", "san", "subject"}, PerListener: true,
			Doc:    "Lets clients in without a password whose TLS certificate was verified, and says what of it is the user's name: the common name of the subject (`cn`), the first subject alternative name, of DNS, e-mail or URI (`san`), or the whole subject as RFC 2253 writes it, such as `CN=alice,O=Plant` (`subject`). The user name of CONNECT does not count then. A client without a certificate needs a password of `auth.password_file`, if there is one.",
			Reason: "Not every certificate is a user's.",
			Change: forNew,
		}, {
			Key: "auth.jwt_keys", At: func(c *Settings) any { return &c.Auth.JWTKeys },
			Default: "", PerListener: true, Zero: "tokens are passwords as any other", Check: checkKeys,
			Doc:    "A file of keys for JSON Web Tokens, which clients give as their password: public keys or certificates in PEM (RS, PS and ES with 256, 384 and 512, EdDSA), a JWKS, or a secret of 32 bytes at least (HS256, HS384, HS512). Or the URL of a JWKS, `https://...`: see `auth.jwt_refresh`. A token needs an end (`exp`), at which its client is disconnected (0x87). `client_id` in it, if it is there, is the client identifier that it is for. A file is read again while the broker runs.",
			Reason: "Only you know who signs your tokens.",
			Change: forNew,
		}, {
			Key: "auth.jwt_user", At: func(c *Settings) any { return &c.Auth.JWTUser },
			Default: "sub", PerListener: true,
			Doc:    "The claim of a token that has the user's name. The user name of CONNECT does not count then.",
			Reason: "RFC 7519 has `sub` for whom a token is about.",
			Change: forNew,
		}, {
			Key: "auth.jwt_groups", At: func(c *Settings) any { return &c.Auth.JWTGroups },
			Default: "groups", PerListener: true, Zero: "users of tokens are in no group",
			Doc:    "The claim of a token that has the groups which the user is in, for an access list: a list of texts.",
			Reason: "What most services call it.",
			Change: forNew,
		}, {
			Key: "auth.jwt_rules", At: func(c *Settings) any { return &c.Auth.JWTRules },
			Default: "rules", PerListener: true, Zero: "tokens have no rules",
			Doc:    "The claim of a token that has rules about what its client may do: a list of texts in the form of [access control](../access-control.md), such as `allow publish devices/%c/#`. They count before those of `acl.file`; without such a file, what they don't allow is denied. A token with a rule that is not understood is refused, and the log says why.",
			Reason: "RFC 7519 has no name for it, and the word is the one that an answer of `hook.auth_url` has.",
			Change: forNew,
		}, {
			Key: "auth.jwt_refresh", At: func(c *Settings) any { return &c.Auth.JWTRefresh },
			Default: time.Hour, Min: int64(time.Second), Max: int64(7 * 24 * time.Hour),
			Doc:    "How often keys are fetched anew where `auth.jwt_keys` is a URL. A token with a key that is not among them has them fetched at once, but once a minute at most, and waits for that. If the service does not answer, the keys from before stay, and it is tried again.",
			Reason: "Services show a new key for days before they sign with it.",
			Change: forNew,
		}, {
			Key: "auth.jwt_ca", At: func(c *Settings) any { return &c.Auth.JWTCA },
			Default: []string{}, Zero: "those that the system trusts",
			Doc:    "PEM files with the authorities that the certificate of an `https` URL in `auth.jwt_keys` must come from.",
			Reason: "A service with a public name has a certificate that everybody trusts.",
			Change: forNew,
		}, {
			Key: "auth.client_id", At: func(c *Settings) any { return &c.Auth.ClientID },
			Default: "", PerListener: true, Zero: "any",
			Doc:    "The client identifiers that a user may have: `%u` is the user's name, or `%{cn}` and others something of its certificate (see `mount_point`), and `*` at the end any text, such as `%u` or `%u-*`. Others are refused with 0x85 (3.1.1: 2). A client without an identifier gets one from the broker as ever. Whoever can connect with the identifier of another client takes over its session.",
			Reason: "Most clients make up their identifiers.",
			Change: forNew,
		}, {
			Key: "auth.attempts", At: func(c *Settings) any { return &c.Auth.Attempts },
			Default: 10, Max: 1_000_000, Zero: "as many as they like",
			Doc:    "Wrong passwords for a user name from an address (of IPv6: from a network of 64 bits) until nobody looks at further ones: they are refused with 0x9F (3.1.1: 3) at once, right or wrong. One try is given back each `auth.attempts_interval`. An address has 20 times as many for all user names together.",
			Reason: "Nobody mistypes a password ten times, and a list of passwords has more than ten.",
			Change: atOnce,
		}, {
			Key: "auth.attempts_interval", At: func(c *Settings) any { return &c.Auth.AttemptsInterval },
			Default: 10 * time.Second, Min: int64(time.Millisecond), Max: int64(24 * time.Hour),
			Doc:    "The time after which a try is given back: see `auth.attempts`.",
			Reason: "8,640 tries a day guess no password that is worth the name; and a device whose password was mended comes in soon.",
			Change: atOnce,
		}, {
			Key: "auth.threads", At: func(c *Settings) any { return &c.Auth.Threads },
			Default: 0, Max: 1024, Zero: "half of the cores, one at least",
			Doc:    "The largest number of passwords that are hashed at one time. Together they take an eighth of `limits.memory` at most, or one runs alone: argon2id needs 19 MiB for each with the parameters of `midge passwd`.",
			Reason: "Hashing is made to be slow. The other half of the cores serves clients that are connected.",
			Change: atOnce,
		}, {
			Key: "auth.queue", At: func(c *Settings) any { return &c.Auth.Queue },
			Default: 1000, Min: 1, Max: 1_000_000,
			Doc:    "CONNECT packets that may wait for that, half of them from one address. More are refused with 0x89 (3.1.1: 3), and so is who has waited for `limits.connect_timeout`. A password that was right before is not hashed again.",
			Reason: "At 50 ms each, half a minute on two cores; whoever waits longer has given up.",
			Change: atOnce,
		},
	}}
}
