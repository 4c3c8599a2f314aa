package logonce

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestReasonsThatAlternateAreSaidOnceEachAndNeverWithoutEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var o Limiter
		for round := range 5 {
			for _, reason := range []string{"no answer within 2s", "no route to host"} {
				if o.Allow(2, reason) != (round == 0) {
					t.Errorf("round %d: %q", round, reason)
				}
			}
		}
		said := 2
		for port := range 1000 {
			if o.Allow(2, fmt.Sprintf("connection from port %d reset", port)) {
				said++
			}
		}
		if said != MaxPerPeriod {
			t.Errorf("%d lines, at most %d may be said", said, MaxPerPeriod)
		}
		if !o.Allow(3, "no route to host") {
			t.Error("what is about another is not said")
		}
		time.Sleep(period + time.Second)
		if !o.Allow(2, "no route to host") {
			t.Error("an hour later it is not said again")
		}
		o.Reset(2)
		if !o.Allow(2, "no route to host") {
			t.Error("after it was reached it is not said again")
		}
	})
}

// Whoever calls under a new name each time has no more said about all names together than one who keeps his, once there are
// as many as are told apart; and it makes nobody else's sayings forgotten.
func TestStrangersWithEverNewNamesFillNeitherMemoryNorLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s Limiter
		s.Allow(1, "no route to host")
		said := 0
		for name := range uint64(100_000) {
			if s.Allow(name+2, fmt.Sprintf("refused %d", name)) {
				said++
			}
		}
		if want := maxSubjects - 1 + MaxPerPeriod; said != want || len(s.bySubject) > maxSubjects {
			t.Errorf("%d lines about %d who are told apart, %d lines expected", said, len(s.bySubject), want)
		}
		if s.Allow(1, "no route to host") {
			t.Error("strangers had what was said about another forgotten")
		}
		time.Sleep(period + time.Second)
		if !s.Allow(7_000_000, "refused") {
			t.Error("an hour later nothing is said about strangers")
		}
	})
}
