// Package seldom keeps a log readable where others decide how often something happens: a peer that is away for a day, a
// client that tries again for ever.
package seldom

import (
	"slices"
	"sync"
	"time"
)

// Sayings lets each text about somebody through a single time until it is forgotten, and no more than Most of them an hour:
// what cannot be reached fails in turn with one reason and another, and some reasons hold a port number that no other has.
// Bounded, so that strangers cannot fill it, nor the log. The zero value is ready.
type Sayings struct {
	mu   sync.Mutex
	said map[uint64]*saying // guarded by mu; by who it was about, at most mostTold
	rest saying             // guarded by mu: about all others together, while there are so many
}

type saying struct {
	texts []string
	full  time.Time // when there were as many as may be
}

const (
	// Most is how many texts about one are let through.
	Most     = 8
	again    = time.Hour
	mostTold = 256
)

// First tells whether a text is to be said.
func (s *Sayings) First(about uint64, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.said[about]
	switch {
	case said != nil:
	case len(s.said) >= mostTold:
		said = &s.rest
	default:
		if s.said == nil {
			s.said = map[uint64]*saying{}
		}
		said = &saying{}
		s.said[about] = said
	}
	return said.first(text)
}

func (said *saying) first(text string) bool {
	if len(said.texts) >= Most && time.Since(said.full) > again {
		said.texts = nil
	}
	if len(said.texts) >= Most || slices.Contains(said.texts, text) {
		return false
	}
	if said.texts = append(said.texts, text); len(said.texts) == Most {
		said.full = time.Now()
	}
	return true
}

// Forget lets everything about one be said again.
func (s *Sayings) Forget(about uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.said, about)
}
