// Package logonce decides which of many similar events reach the log, where others decide how often
// they happen: a peer that is away for a day, a client that retries without end.
package logonce

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Limiter logs each distinct message once per subject, and at most maxPerPeriod messages of a
// subject an hour: a peer that cannot be reached fails with several reasons in turn, and some
// reasons hold a port number that never repeats.
//
// It tracks 256 subjects; all further ones count as one subject together, so that unknown callers
// with ever new names fill neither the memory nor the log. The zero value is ready. It is safe for
// use by many goroutines.
type Limiter struct {
	mu        sync.Mutex
	bySubject map[uint64]*subjectMessages // guarded by mu; at most maxSubjects
	overflow  subjectMessages             // guarded by mu; of the subjects that are not in bySubject while it is full
}

type subjectMessages struct {
	messages  []string
	fullSince time.Time // when messages reached maxPerPeriod
}

const (
	// maxPerPeriod bounds the distinct messages of a subject within an hour.
	maxPerPeriod = 8
	period       = time.Hour
	maxSubjects  = 256
)

// Allow reports whether to log a message about a subject.
func (l *Limiter) Allow(subject uint64, message string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	logged := l.bySubject[subject]
	switch {
	case logged != nil:
	case len(l.bySubject) >= maxSubjects:
		logged = &l.overflow
	default:
		if l.bySubject == nil {
			l.bySubject = map[uint64]*subjectMessages{}
		}
		logged = &subjectMessages{}
		l.bySubject[subject] = logged
	}
	return logged.allow(message)
}

func (s *subjectMessages) allow(message string) bool {
	if len(s.messages) >= maxPerPeriod && time.Since(s.fullSince) > period {
		s.messages = nil
	}
	if len(s.messages) >= maxPerPeriod || slices.Contains(s.messages, message) {
		return false
	}
	if s.messages = append(s.messages, message); len(s.messages) == maxPerPeriod {
		s.fullSince = time.Now()
	}
	return true
}

// Reset allows all messages about a subject again.
func (l *Limiter) Reset(subject uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.bySubject, subject)
}

// Counter counts events of one kind, and logs them ever less often: the 1st, 2nd, 4th, 8th and so
// on.
type Counter struct{ events atomic.Uint64 }

// Add counts an event; it returns how many there were, and whether to log this one.
func (c *Counter) Add() (events uint64, allow bool) {
	n := c.events.Add(1)
	return n, n&(n-1) == 0
}

// Count returns how many events there were.
func (c *Counter) Count() uint64 { return c.events.Load() }
