package hook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"midge/internal/acl"
	"midge/internal/auth"
	"midge/internal/broker"
	"midge/internal/packet"
)

const (
	maxName   = 65_535 // bytes of a user name, a group or a client identifier
	maxGroups = 1000
	maxReason = 256 // bytes of a reason that a client is told
)

// answer is what the service says. It does not change.
type answer struct {
	decision auth.Decision
	user     *string
	clientID string
	groups   []string
	rules    *acl.ClientRules
	expires  time.Time
	reason   string
	bytes    int // of its texts
}

func (a *answer) denies() bool { return a.decision == auth.Deny }

// parseConnect reads an answer about a CONNECT. A key that is not known makes it wrong: a
// rule that is spelt wrongly must not let a client do everything.
func parseConnect(text []byte) (*answer, error) {
	var from struct {
		Result   string   `json:"result"`
		Reason   string   `json:"reason"`
		User     *string  `json:"user"`
		ClientID string   `json:"client_id"`
		Groups   []string `json:"groups"`
		Rules    []string `json:"rules"`
		Expires  *int64   `json:"expires"` // seconds since 1970
	}
	a := &answer{bytes: len(text)}
	if err := decode(text, &from); err != nil {
		return nil, err
	}
	switch from.Result {
	case "allow":
		a.decision = auth.Allow
	case "deny":
		a.decision = auth.Deny
	case "next":
	default:
		return nil, fmt.Errorf("the answer's result is %.40q, and not allow, deny or next", from.Result)
	}
	a.reason = clean(from.Reason)
	if a.decision != auth.Allow {
		if from.User != nil || from.ClientID != "" || from.Groups != nil || from.Rules != nil || from.Expires != nil {
			return nil, fmt.Errorf("the answer is %q, and says who the client is", from.Result)
		}
		return a, nil
	}
	a.user, a.clientID, a.groups = from.User, from.ClientID, from.Groups
	if err := a.checkNames(); err != nil {
		return nil, err
	}
	if from.Expires != nil {
		if *from.Expires <= 0 || *from.Expires > 1<<40 {
			return nil, errors.New("the answer's expires is not a time in seconds since 1970")
		}
		a.expires = time.Unix(*from.Expires, 0)
	}
	if from.Rules != nil { // an empty list allows nothing
		var err error
		if a.rules, err = acl.ParseClientRules(from.Rules); err != nil {
			return nil, fmt.Errorf("the answer's rules: %w", err)
		}
	}
	return a, nil
}

func (a *answer) checkNames() error {
	if len(a.groups) > maxGroups {
		return fmt.Errorf("the answer has %d groups, and %d is the most", len(a.groups), maxGroups)
	}
	names := append([]string{a.clientID}, a.groups...)
	if a.user != nil {
		names = append(names, *a.user)
	}
	for _, name := range names {
		if len(name) > maxName || !utf8.ValidString(name) || strings.ContainsRune(name, 0) {
			return errors.New("the answer has a name that MQTT does not allow")
		}
	}
	return nil
}

// parseAccess reads an answer about a topic.
func parseAccess(text []byte) (*answer, error) {
	var from struct {
		Result string `json:"result"`
		Reason string `json:"reason"`
	}
	a := &answer{}
	if err := decode(text, &from); err != nil {
		return nil, err
	}
	switch from.Result {
	case "allow":
		a.decision = auth.Allow
	case "deny":
		a.decision = auth.Deny
	default:
		return nil, fmt.Errorf("the answer's result is %.40q, and not allow or deny", from.Result)
	}
	return a, nil
}

// decode reads one JSON object, and nothing else.
func decode(text []byte, to any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(to); err != nil {
		return fmt.Errorf("the answer is not understood: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("the answer has something behind its object")
	}
	return nil
}

// clean makes a reason one that a client can be told.
func clean(reason string) string {
	reason = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(reason, "?"))
	for len(reason) > maxReason {
		_, size := utf8.DecodeLastRuneInString(reason)
		reason = reason[:len(reason)-size]
	}
	return reason
}

// of is the answer for a CONNECT.
func (a *answer) of(r *auth.Request) auth.Answer {
	switch a.decision {
	case auth.Deny:
		wrong := auth.Wrong()
		if a.reason != "" {
			wrong.Reason = a.reason
		}
		if r.UserName == nil && r.Password == nil {
			wrong.Code, wrong.Refusal = packet.NotAuthorized, broker.NoCredentials
			if a.reason == "" {
				wrong.Reason = "a user name and a password are asked for"
			}
		}
		return wrong
	case auth.Next:
		return auth.Answer{}
	}
	user := string(r.UserName)
	if a.user != nil {
		user = *a.user
	}
	return auth.Answer{Decision: auth.Allow, User: user, Groups: a.groups, ClientID: a.clientID, Rules: a.rules, Expires: a.expires}
}
