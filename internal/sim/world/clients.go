package world

import (
	"strconv"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
)

// client is somebody who uses the cluster: one operation after the other, or several at once, at a
// member that changes now and then. Its member's death leaves it with operations of which it does
// not know what became; it goes on elsewhere.
type client struct {
	world       *World
	id          int
	member      *Member
	MaxInFlight int           // how many operations it has under way at most
	MaxPause    time.Duration // at most, between two
	timeout     time.Duration // how long it waits for an answer; 0: until its member dies
	inFlight    int
}

const (
	keysInUse  = 5  // at a time
	MaxKeyUses = 24 // operations on a key before another takes its place: histories that can be checked
)

// keys are those in use, and how often each was used.
type keyPool struct {
	inUse     [keysInUse]uint32
	useCounts [keysInUse]int
	next      uint32
}

// pick chooses a key, and replaces it where it was used enough.
func (k *keyPool) pick(at int) uint32 {
	if k.inUse[at] == 0 || k.useCounts[at] >= MaxKeyUses {
		k.next++
		k.inUse[at], k.useCounts[at] = k.next, 0
	}
	k.useCounts[at]++
	return k.inUse[at]
}

// AddClients makes the world's clients; without a number in the options the seed decides.
func (w *World) AddClients() {
	if w.Chance(0.2) {
		w.sessionLimits.MaxPendingRequests, w.sessionLimits.MaxPendingBytes = 2+w.Random.IntN(4), 400
	}
	if w.Chance(0.2) {
		w.UncommittedBytes = 100 + w.Random.Uint64N(400)
	}
	n := 2 + w.Random.IntN(6)
	if w.Options.Clients > 0 {
		n = w.Options.Clients
	}
	for id := 1; id <= n; id++ {
		c := &client{world: w, id: id, member: w.RandomMember(), MaxInFlight: 1, MaxPause: w.RandomDuration(20*time.Millisecond, 300*time.Millisecond)}
		if w.Chance(0.3) {
			c.MaxInFlight = 2 + w.Random.IntN(6)
		}
		if w.Chance(0.5) {
			c.timeout = w.RandomDuration(100*time.Millisecond, 4*time.Second)
		}
		w.Clients = append(w.Clients, c)
		w.After(w.RandomDuration(0, time.Second), c.act)
	}
}

// act begins an operation, and plans the next.
func (c *client) act() {
	w := c.world
	if w.Healing {
		return
	}
	if c.inFlight < c.MaxInFlight {
		if !c.member.up || w.Chance(0.1) {
			c.member = w.RandomMember()
		}
		if c.member.up {
			c.begin()
		}
	}
	w.After(w.RandomDuration(time.Millisecond, c.MaxPause), c.act)
}

// mix is how often a client does what.
var opMix = []history.Op{
	history.Put, history.Put, history.Put, history.Append, history.Append, history.Append, history.Append, history.Append, history.CompareAndSwap, history.CompareAndSwap, history.CompareAndSwap, history.Delete,
	history.GetLog, history.GetIndex, history.GetIndex, history.GetIndex, history.GetIndex, history.GetLease, history.GetLeader, history.GetLocal, history.GetLocal,
}

func (c *client) begin() {
	w := c.world
	is := history.Command{Kind: opMix[w.Random.IntN(len(opMix))], Key: w.keys.pick(w.Random.IntN(keysInUse))}
	is.Value = strconv.FormatUint(w.History.LastNumber+1, 36) + "."
	if is.Kind == history.CompareAndSwap {
		is.Expect = c.guess(is.Key)
	}
	if is.Kind.Writes() {
		is.Padding = w.Random.IntN(100)
	}
	c.inFlight++
	m := c.member
	o := w.History.Begin(c.id, m, is, func(*history.Operation) { c.inFlight-- })
	if c.timeout > 0 && o.Outcome == history.Pending {
		m.after(c.timeout, func() { m.Embedder.Cancel(o.Number) })
	}
}

// guess returns a value that the key may have: the latest one or the one before.
func (c *client) guess(key uint32) string {
	w, values := c.world, c.world.History.Values(key)
	last := len(values) - 1
	switch {
	case last < 0 || w.Chance(0.1):
		return ""
	case last > 0 && w.Chance(0.2):
		return values[last-1]
	}
	return values[last]
}
