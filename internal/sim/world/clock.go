package world

import (
	"math"
	"slices"
	"time"

	"github.com/asynkron/protoactor-go/actor"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/actors"
)

// clock is the clock of a member: a rate, and jumps. All that its actors know of time comes from
// it, timers included.
//
// Within driftBound clocks run a little faster or slower than true time, and all invariants must
// hold, liveness included. Beyond it they stand still, run at other speeds and jump, which no
// monotonic clock does: then only safety must hold.
type clock struct {
	reading time.Duration // what it showed at `since`
	since   time.Duration // true time
	rate    int64         // in millionths of true time
	// lag is how far it was set back: RepairClock adds it again.
	lag time.Duration
}

const (
	TrueRate = 1_000_000
	// driftBound is how much faster or slower than true time a good clock runs, in millionths.
	driftBound = 10_000
	// maxTimerAhead is how far ahead timers are planned. A later timer is planned anew then.
	maxTimerAhead = 1000 * time.Second
	never         = time.Duration(math.MaxInt64)
)

// read returns what the clock shows at a true time.
func (c *clock) read(now time.Duration) time.Duration {
	d := int64(now - c.since)
	// The product of both might overflow.
	return c.reading + time.Duration(d/TrueRate*c.rate+d%TrueRate*c.rate/TrueRate)
}

// set changes rate and reading.
func (c *clock) set(now time.Duration, rate int64, jump time.Duration) {
	c.reading, c.since, c.rate = c.read(now)+jump, now, rate
}

// until returns how much true time passes before the clock has advanced by d; never, if it stands
// still.
func (c *clock) until(d time.Duration) time.Duration {
	switch {
	case d <= 0:
		return 0
	case c.rate == 0:
		return never
	case d > maxTimerAhead:
		d = maxTimerAhead
	}
	return time.Duration((int64(d)*TrueRate + c.rate - 1) / c.rate)
}

// newClock returns a clock in its second day, so that it can be set back an hour.
func (w *World) newClock() clock {
	c := clock{reading: 24*time.Hour + w.RandomDuration(0, time.Hour), since: w.now, rate: TrueRate}
	if w.Options.Profile.ClocksDrift() {
		c.rate += w.Random.Int64N(2*driftBound+1) - driftBound
	}
	return c
}

// Now returns the time of the member's own clock.
func (m *Member) Now() time.Duration { return m.clock.read(m.world.now) }

// SetClock changes rate and reading of the clock. Running timers follow it.
func (m *Member) SetClock(rate int64, jump time.Duration) {
	m.clock.set(m.world.now, rate, jump)
	if jump < 0 {
		m.clock.lag -= jump
	}
	m.timers = slices.DeleteFunc(m.timers, func(t *timer) bool { return t.stopped })
	for _, t := range m.timers {
		t.plan()
	}
}

// RepairClock makes the clock run well again and adds what it was set back. A clock that is ahead
// stays ahead.
func (m *Member) RepairClock() {
	lag := m.clock.lag
	if lag == 0 && m.clock.rate >= TrueRate-driftBound && m.clock.rate <= TrueRate+driftBound {
		return
	}
	m.SetClock(TrueRate, lag)
	m.clock.lag = 0
}

// timer is a message that is posted at a time of the member's clock.
type timer struct {
	member     *Member
	due        time.Duration // on that clock
	to         *actor.PID
	message    proto.Message
	planNumber int // only the latest plan counts
	stopped    bool
}

// Stop implements actors.Timer.
func (t *timer) Stop() { t.stopped = true }

// After implements actors.Env.
func (m *Member) After(d time.Duration, to *actor.PID, message proto.Message) actors.Timer {
	m.world.Checker.TimerSet(message)
	t := &timer{member: m, due: m.Now() + d, to: to, message: message}
	if len(m.timers) == cap(m.timers) {
		m.timers = slices.DeleteFunc(m.timers, func(t *timer) bool { return t.stopped })
	}
	m.timers = append(m.timers, t)
	t.plan()
	return t
}

func (t *timer) plan() {
	t.planNumber++
	if wait := t.member.clock.until(t.due - t.member.Now()); wait != never {
		plan := t.planNumber
		t.member.after(wait, func() { t.fire(plan) })
	}
}

func (t *timer) fire(plan int) {
	switch {
	case t.stopped || plan != t.planNumber:
	case t.member.Now() < t.due:
		t.plan()
	default:
		t.stopped = true
		t.member.Post(t.to.Id, t.message)
	}
}
