package node

import (
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/troupe-raft/troupe/actors"
	"github.com/troupe-raft/troupe/messages"
)

// roleTimer is the one timer of a role: the election timeout of a follower or candidate, the
// heartbeat interval of a leader. The deadline moves with each message of the leader, perhaps
// thousands of times a second. The timer does not: when it fires before the deadline, it is started
// again for the rest.
//
// Invariant: outside of `recovering` a timer runs, and it fires at the deadline or before.
type roleTimer struct {
	env         actors.Env
	node        *actor.PID
	incarnation uint64

	running  actors.Timer // nil while none runs
	number   uint64       // of the Tick of the running timer
	due      time.Duration
	deadline time.Duration
}

// set sets the deadline to `wait` from now.
func (t *roleTimer) set(wait time.Duration) {
	t.deadline = t.env.Now() + wait
	if t.running == nil || t.deadline < t.due {
		t.start()
	}
}

func (t *roleTimer) start() {
	t.stop()
	t.number++
	wait := max(t.deadline-t.env.Now(), 0)
	t.due = t.env.Now() + wait
	t.running = t.env.After(wait, t.node, &messages.Tick{Incarnation: t.incarnation, Timer: t.number})
}

func (t *roleTimer) stop() {
	if t.running != nil {
		t.running.Stop()
		t.running = nil
	}
}

// fired reports whether the Tick with this number is of the running timer, which has then ended.
func (t *roleTimer) fired(number uint64) bool {
	if number != t.number {
		return false
	}
	t.running = nil
	return true
}

// expired reports, after the timer has fired, whether the deadline has passed. If not, it starts
// the timer again.
func (t *roleTimer) expired() bool {
	if t.env.Now() >= t.deadline {
		return true
	}
	t.start()
	return false
}

// randomBetween returns a random duration in [least, most), or least if that is empty.
func randomBetween(r actors.Random, least, most time.Duration) time.Duration {
	if most <= least {
		return least
	}
	return least + time.Duration(r.Int64N(int64(most-least)))
}
