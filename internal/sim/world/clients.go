package world

import (
	"strconv"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/history"
)

// client is a user of the cluster. It has one or several operations pending at a member that
// changes now and then. When its member stops, the outcome of its operations is unknown; it
// continues at another member.
type client struct {
	world       *World
	id          int
	member      *Member
	MaxInFlight int           // pending operations at most
	MaxPause    time.Duration // at most, between two operations
	timeout     time.Duration // for a response; 0: until its member stops
	inFlight    int
}

const (
	keysInUse = 5 // at a time
	// Operations on a key before a new key replaces it: longer histories cannot be checked.
	MaxKeyUses = 24
)

// keyPool has the keys in use, and how often each was used.
type keyPool struct {
	inUse     [keysInUse]uint32
	useCounts [keysInUse]int
	next      uint32
}

// pick returns the key of a slot. A key that was used often enough is replaced first.
func (k *keyPool) pick(at int) uint32 {
	if k.inUse[at] == 0 || k.useCounts[at] >= MaxKeyUses {
		k.next++
		k.inUse[at], k.useCounts[at] = k.next, 0
	}
	k.useCounts[at]++
	return k.inUse[at]
}

// AddClients adds the clients; if the options do not say how many, the seed decides.
func (w *World) AddClients() {
	if w.Chance(0.2) {
		w.sessionLimits.MaxPendingRequests, w.sessionLimits.MaxPendingBytes = 2+w.Random.IntN(4), 400
	}
	if w.Chance(0.2) {
		w.UncommittedBytes = 100 + w.Random.Uint64N(400)
	}
	if w.Chance(0.5) {
		w.QueueBytes = 200 + w.Random.IntN(1000)
	}
	if w.application != nil {
		w.application.AddClients()
		return
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

// act begins an operation, and plans the next one.
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

// opMix is how often clients call each operation.
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
