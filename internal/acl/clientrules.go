package acl

import (
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"unicode/utf8"
	"weak"
)

// ClientRules are those that came with who a client is, in a token or an answer. They don't change.
type ClientRules struct{ list *list }

const (
	maxRules      = 1000      // that may come with a client. Guess: ten times what one needs
	maxRulesBytes = 256 << 10 // of their text
)

// known has the rules that clients have now, by their text: many come with the same
// ones, in which %u and %c are variables.
var known struct {
	mu    sync.Mutex
	rules map[string]weak.Pointer[ClientRules]
}

// ParseClientRules reads rules of our own form, each a text: "allow publish devices/%c/#".
// The error has those that are wrong.
func ParseClientRules(texts []string) (*ClientRules, error) {
	if len(texts) > maxRules {
		return nil, fmt.Errorf("there are %d rules, and %d is the most", len(texts), maxRules)
	}
	all := fmt.Sprintf("%d\n%s", len(texts), strings.Join(texts, "\n")) // a line end in one makes it wrong
	if len(all) > maxRulesBytes {
		return nil, fmt.Errorf("the rules have %d bytes, and %d is the most", len(all), maxRulesBytes)
	}
	known.mu.Lock()
	defer known.mu.Unlock()
	if r := known.rules[all].Value(); r != nil {
		return r, nil
	}
	l, err := parseTexts(texts)
	if err != nil {
		return nil, err
	}
	r := &ClientRules{l}
	if known.rules == nil {
		known.rules = map[string]weak.Pointer[ClientRules]{}
	}
	known.rules[all] = weak.Make(r)
	runtime.AddCleanup(r, forget, all)
	return r, nil
}

// forget forgets rules that nobody has any more.
func forget(text string) {
	known.mu.Lock()
	defer known.mu.Unlock()
	if known.rules[text].Value() == nil {
		delete(known.rules, text)
	}
}

func parseTexts(texts []string) (*list, error) {
	p := &parser{list: newList(), kind: ours}
	var faults []error
	for i, text := range texts {
		if err := p.text(text); err != nil {
			faults = append(faults, fmt.Errorf("rule %d: %w", i+1, err))
		}
		if len(faults) == maxFaults {
			break
		}
	}
	return p.list, errors.Join(faults...)
}

// text reads a rule that stands alone.
func (p *parser) text(s string) error {
	switch trimmed := strings.Trim(s, " \t"); {
	case !utf8.ValidString(s) || strings.ContainsAny(s, "\r\n\x00"):
		return errors.New("it is not one line of UTF-8")
	case strings.HasPrefix(trimmed, "group"):
		return errors.New("a group's members can't be told here, only what it may do, as in: allow group=NAME publish t")
	default:
		return p.line(trimmed)
	}
}
