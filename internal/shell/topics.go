package shell

import "sync"

// topics are the topics and filters that a shell has met, for completion.
type topics struct {
	mu   sync.Mutex
	seen map[string]bool
}

// maxTopics bounds what a shell remembers: who can't find a topic among so
// many types more of it.
const maxTopics = 10_000

func (t *topics) add(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen == nil {
		t.seen = map[string]bool{}
	}
	if len(t.seen) < maxTopics {
		t.seen[name] = true
	}
}

func (t *topics) all() (all []string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for name := range t.seen {
		all = append(all, name)
	}
	return all
}
