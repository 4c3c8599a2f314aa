// Package seldom keeps a log readable where others decide how often something happens: a peer that is away for a day, a
// client that tries again for ever.
package logonce

import (
	"slices"
	"sync"
	"time"
)

// Limiter lets each text about somebody through a single time until it is forgotten, and no more than MaxPerPeriod of them an hour:
// what cannot be reached fails in turn with one reason and another, and some reasons hold a port number that no other has.
// Bounded, so that strangers cannot fill it, nor the log. The zero value is ready.
type Limiter struct {
	mu        sync.Mutex
	bySubject map[uint64]*subjectMessages // guarded by mu; by who it was about, at most maxSubjects
	overflow  subjectMessages             // guarded by mu: about all others together, while there are so many
}

type subjectMessages struct {
	messages  []string
	fullSince time.Time // when there were as many as may be
}

const (
	// MaxPerPeriod is how many texts about one are let through.
	MaxPerPeriod = 8
	period       = time.Hour
	maxSubjects  = 256
)

// First tells whether a text is to be said.
func (s *Limiter) Allow(about uint64, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	said := s.bySubject[about]
	switch {
	case said != nil:
	case len(s.bySubject) >= maxSubjects:
		said = &s.overflow
	default:
		if s.bySubject == nil {
			s.bySubject = map[uint64]*subjectMessages{}
		}
		said = &subjectMessages{}
		s.bySubject[about] = said
	}
	return said.allow(text)
}

func (said *subjectMessages) allow(text string) bool {
	if len(said.messages) >= MaxPerPeriod && time.Since(said.fullSince) > period {
		said.messages = nil
	}
	if len(said.messages) >= MaxPerPeriod || slices.Contains(said.messages, text) {
		return false
	}
	if said.messages = append(said.messages, text); len(said.messages) == MaxPerPeriod {
		said.fullSince = time.Now()
	}
	return true
}

// Forget lets everything about one be said again.
func (s *Limiter) Reset(about uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.bySubject, about)
}
