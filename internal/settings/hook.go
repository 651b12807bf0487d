package settings

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Hook says how an HTTP service is asked who may connect, and what clients may do.
type Hook struct {
	AuthURL         string
	ACLURL          string
	SecretFile      string
	Headers         []string
	CA              []string
	Proxy           string
	Timeout         time.Duration
	Concurrency     int
	Queue           int
	CacheTime       time.Duration
	CacheDeniedTime time.Duration
	CacheSize       Size
	Failures        int
	RetryAfter      time.Duration
	Unavailable     string
}

// What Hook.Unavailable may be.
const (
	DenyUnavailable = "deny"
	NextUnavailable = "next"
)

func hook() Section {
	none := []string{}
	return Section{Name: "hook", Doc: "An HTTP service that is asked who may connect, or what clients may do: see [authentication](../authentication.md#ask-an-http-service) and [access control](../access-control.md#ask-an-http-service).", Settings: []Setting{
		{
			Key: "hook.auth_url", At: func(c *Settings) any { return &c.Hook.AuthURL },
			Default: "", PerListener: true, Zero: "no service is asked who may connect", Check: CheckURL,
			Doc:    "The service that decides who may connect, such as `https://auth.example.org/mqtt`. It is asked with a POST of a JSON object, and answers with one: `allow`, `deny`, or `next` for what decides otherwise, such as a `auth.password_file`. Client certificates and tokens are looked at before it, the password file and `allow_anonymous` after it.",
			Reason: "Only you have such a service.",
			Change: forNew,
		}, {
			Key: "hook.acl_url", At: func(c *Settings) any { return &c.Hook.ACLURL },
			Default: "", PerListener: true, Zero: "no service is asked what clients may do", Check: CheckURL,
			Doc:    "The service that decides what clients may publish and subscribe to, where no rule that came with the client and none of `acl.file` does. It may be the same as `hook.auth_url`. A client waits with its packet until the answer is here; others don't. What a subscription matches that was allowed is not asked for again.",
			Reason: "Rules in a file, or in the answer of `hook.auth_url`, cost no request.",
			Change: forNew,
		}, {
			Key: "hook.secret_file", At: func(c *Settings) any { return &c.Hook.SecretFile },
			Default: "", Zero: "none",
			Doc:    "A file with a secret, which each request has in its header: `Authorization: Bearer SECRET`. It is read again with the other files.",
			Reason: "A service on the same machine may do without.",
			Change: forNew,
		}, {
			Key: "hook.headers", At: func(c *Settings) any { return &c.Hook.Headers },
			Default: none, Zero: "none", Secret: true, Check: CheckHeader,
			Doc:    "Headers that each request has beside that, such as `X-Tenant: plant 7`.",
			Reason: "Few services want any.",
			Change: forNew,
		}, {
			Key: "hook.ca", At: func(c *Settings) any { return &c.Hook.CA },
			Default: none, Zero: "those that the system trusts",
			Doc:    "PEM files with the authorities that the certificate of an `https` service must come from.",
			Reason: "A service with a public name has a certificate that everybody trusts.",
			Change: forNew,
		}, {
			Key: "hook.proxy", At: func(c *Settings) any { return &c.Hook.Proxy },
			Default: "", Zero: "none, whatever the environment says", Check: CheckURL, Secret: true,
			Doc:    "An HTTP proxy that requests to the service go through, such as `http://proxy:3128`; those for `auth.jwt_keys` go through it, too.",
			Reason: "Passwords go where the configuration says, and not where a variable happens to point.",
			Change: forNew,
		}, {
			Key: "hook.timeout", At: func(c *Settings) any { return &c.Hook.Timeout },
			Default: 3 * time.Second, Min: int64(10 * time.Millisecond), Max: int64(time.Minute),
			Doc:    "How long an answer may take, from the connection to the last byte. A CONNECT that waits in all for longer than `limits.connect_timeout` is refused in any case.",
			Reason: "Less than `limits.connect_timeout`, so that the client is told, and more than a service takes that works.",
			Change: forNew,
		}, {
			Key: "hook.concurrency", At: func(c *Settings) any { return &c.Hook.Concurrency },
			Default: 32, Min: 1, Max: 4096,
			Doc:    "Requests at one time to a service, for each of the two URLs. Connections to it are used again.",
			Reason: "At 5 ms each, 6,400 answers a second; and no more than a small service takes at once.",
			Change: forNew,
		}, {
			Key: "hook.queue", At: func(c *Settings) any { return &c.Hook.Queue },
			Default: 1000, Min: 1, Max: 1_000_000,
			Doc:    "Questions that may wait for that, half of them from one address. More are refused: CONNECT with 0x89 (3.1.1: 3), PUBLISH and SUBSCRIBE as without the right. A client that has gone meanwhile costs no request.",
			Reason: "With a service that takes 100 ms, three seconds of waiting.",
			Change: forNew,
		}, {
			Key: "hook.cache_time", At: func(c *Settings) any { return &c.Hook.CacheTime },
			Default: time.Minute, Max: int64(24 * time.Hour), Zero: "each question is asked",
			Doc:    "How long an answer is remembered that allows something, or says `next`. SIGHUP forgets all. Passwords are not kept: an answer is found by a keyed digest of the whole question.",
			Reason: "Spares the service a storm of clients that come back; and a user that was deleted is out a minute later.",
			Change: forNew,
		}, {
			Key: "hook.cache_denied_time", At: func(c *Settings) any { return &c.Hook.CacheDeniedTime },
			Default: 10 * time.Second, Max: int64(24 * time.Hour), Zero: "each question is asked",
			Doc:    "How long an answer is remembered that denies something.",
			Reason: "A device that tries again and again costs six requests a minute, and one that was just added waits no longer.",
			Change: forNew,
		}, {
			Key: "hook.cache_size", At: func(c *Settings) any { return &c.Hook.CacheSize },
			Default: Size(16 << 20), Min: 64 << 10, Max: 1 << 34,
			Doc:    "Memory for remembered answers of each of the two URLs, a quarter of it for those that deny. An answer about who may connect takes 300 bytes and its rules, one about a topic 300 bytes and the names. Beyond it, those go that were not used for longest.",
			Reason: "50,000 answers.",
			Change: forNew,
		}, {
			Key: "hook.failures", At: func(c *Settings) any { return &c.Hook.Failures },
			Default: 5, Min: 1, Max: 1_000_000,
			Doc:    "Failures one after the other until the service counts as unavailable: no answer in time, another status than 200, or an answer that is not understood. It is not asked then, but for one question each `hook.retry_after`, until it answers.",
			Reason: "A service that is down gets no storm when it comes back, and clients are told at once.",
			Change: forNew,
		}, {
			Key: "hook.retry_after", At: func(c *Settings) any { return &c.Hook.RetryAfter },
			Default: 5 * time.Second, Min: int64(10 * time.Millisecond), Max: int64(time.Hour),
			Doc:    "The time after which a service that is unavailable is asked again.",
			Reason: "Clients try again in about that time.",
			Change: forNew,
		}, {
			Key: "hook.unavailable", At: func(c *Settings) any { return &c.Hook.Unavailable },
			Default: DenyUnavailable, Words: []string{DenyUnavailable, NextUnavailable},
			Doc:    "What becomes of a question that has no answer, because the service failed or is unavailable. `deny` refuses: CONNECT with 0x88 (3.1.1: 3), so that the client tries again. `next` leaves CONNECT to what decides otherwise; PUBLISH and SUBSCRIBE are refused in any case.",
			Reason: "Whoever can stop the service must not get in by that.",
			Change: forNew,
		},
	}}
}

// CheckURL reports what is wrong with the URL of a service.
func CheckURL(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is no URL", text)
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Fragment != "":
		return fmt.Errorf("%q is no URL of a service; write such as \"https://auth.example.org/mqtt\"", text)
	case u.User != nil:
		return fmt.Errorf("a URL must not have a password in it, which ends up in logs: see hook.secret_file")
	}
	return nil
}

// IsURL reports whether the value of a setting is a URL, where it may be a file, too.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// InClear reports whether what is sent to a URL can be read, and changed, on the way.
func InClear(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	return u.Hostname() != "localhost" && (err != nil || !a.IsLoopback())
}

// CheckHeader reports what is wrong with a header.
func CheckHeader(text string) error {
	name, value, found := strings.Cut(text, ":")
	if !found || name == "" || strings.ContainsFunc(name, notToken) || strings.ContainsAny(value, "\r\n\x00") {
		return fmt.Errorf("a header is written as \"Name: value\"")
	}
	return nil
}

func notToken(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r)
}
