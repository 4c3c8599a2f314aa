package world

import (
	"container/heap"
	"time"
)

// event is something that will happen. An event of a member happens only if the member is still in
// the run in which it was planned.
type event struct {
	at        time.Duration
	sequence  uint64 // breaks ties, so that the order depends on the seed alone
	member    *Member
	runNumber int
	action    func()
}

type eventQueue []*event

func (s eventQueue) Len() int { return len(s) }
func (s eventQueue) Less(i, j int) bool {
	return s[i].at < s[j].at || s[i].at == s[j].at && s[i].sequence < s[j].sequence
}
func (s eventQueue) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *eventQueue) Push(x any)   { *s = append(*s, x.(*event)) }
func (s *eventQueue) Pop() any {
	last := len(*s) - 1
	e := (*s)[last]
	(*s)[last] = nil
	*s = (*s)[:last]
	return e
}

// After plans an event of the world.
func (w *World) After(d time.Duration, run func()) { w.enqueue(&event{action: run}, d) }

// after plans an event of the present run of a member.
func (m *Member) after(d time.Duration, run func()) {
	m.world.enqueue(&event{member: m, runNumber: m.RunNumber, action: run}, d)
}

func (w *World) enqueue(e *event, d time.Duration) {
	w.planned++
	e.at, e.sequence = w.now+d, w.planned
	heap.Push(&w.queue, e)
}

// Step runs the next event.
func (w *World) Step() {
	if len(w.queue) == 0 { // all members are down for good
		w.now += time.Second
		return
	}
	e := heap.Pop(&w.queue).(*event)
	w.now = max(w.now, e.at)
	if e.member == nil || e.runNumber == e.member.RunNumber {
		w.steps++
		e.action()
		if w.application != nil {
			w.application.AfterStep()
		}
		if w.steps%fullCheckInterval == 0 && w.checking() {
			w.Checker.FullCheck(w.steps / fullCheckInterval)
		}
	}
}

// RandomDuration draws a duration of at least from and below to.
func (w *World) RandomDuration(from, to time.Duration) time.Duration {
	if w.FixedDurations {
		return from + (to-from)/2
	}
	return from + time.Duration(w.Random.Int64N(int64(to-from)))
}

// Chance draws true with probability p.
func (w *World) Chance(p float64) bool { return p > 0 && w.Random.Float64() < p }
