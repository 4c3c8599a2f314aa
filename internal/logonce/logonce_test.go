package logonce

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func TestLimiterAllowsEachMessageOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		for round := range 5 {
			for _, reason := range []string{"no answer within 2s", "no route to host"} {
				if l.Allow(2, reason) != (round == 0) {
					t.Errorf("round %d: %q", round, reason)
				}
			}
		}
		allowed := 2
		for port := range 1000 {
			if l.Allow(2, fmt.Sprintf("connection from port %d reset", port)) {
				allowed++
			}
		}
		if allowed != maxPerPeriod {
			t.Errorf("%d messages were allowed, want %d", allowed, maxPerPeriod)
		}
		if !l.Allow(3, "no route to host") {
			t.Error("the message was refused for another subject")
		}
		time.Sleep(period + time.Second)
		if !l.Allow(2, "no route to host") {
			t.Error("the message was refused an hour later")
		}
		l.Reset(2)
		if !l.Allow(2, "no route to host") {
			t.Error("the message was refused after Reset")
		}
	})
}

// Subjects beyond maxSubjects share one allowance, and they do not reset the subjects that are
// tracked.
func TestLimiterBoundsUnknownSubjects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Limiter
		l.Allow(1, "no route to host")
		allowed := 0
		for subject := range uint64(100_000) {
			if l.Allow(subject+2, fmt.Sprintf("refused %d", subject)) {
				allowed++
			}
		}
		if want := maxSubjects - 1 + maxPerPeriod; allowed != want || len(l.bySubject) > maxSubjects {
			t.Errorf("%d messages about %d subjects were allowed, want %d", allowed, len(l.bySubject), want)
		}
		if l.Allow(1, "no route to host") {
			t.Error("other subjects reset a subject that is tracked")
		}
		time.Sleep(period + time.Second)
		if !l.Allow(7_000_000, "refused") {
			t.Error("a message about an unknown subject was refused an hour later")
		}
	})
}

func TestCounterLogsPowersOfTwo(t *testing.T) {
	var c Counter
	var logged []uint64
	for range 20 {
		if n, allow := c.Add(); allow {
			logged = append(logged, n)
		}
	}
	if !slices.Equal(logged, []uint64{1, 2, 4, 8, 16}) || c.Count() != 20 {
		t.Errorf("logged %v of %d", logged, c.Count())
	}
}
