package sim

import (
	"strconv"
	"time"
)

// client is somebody who uses the cluster: one operation after the other, or several at once, at a member that changes
// now and then. Its member's death leaves it with operations of which it does not know what became; it goes on elsewhere.
type client struct {
	world       *World
	id          int
	member      *member
	maxInFlight int           // how many operations it has under way at most
	maxPause    time.Duration // at most, between two
	timeout     time.Duration // how long it waits for an answer; 0: until its member dies
	inFlight    int
}

const (
	keysInUse      = 5  // at a time
	maxKeyUses     = 24 // operations on a key before another takes its place: histories that can be checked
	scriptClient   = 0  // the client that a scenario's script is
	firstScriptKey = 1 << 20
)

// keys are those in use, and how often each was used.
type keyPool struct {
	inUse     [keysInUse]uint32
	useCounts [keysInUse]int
	next      uint32
}

// pick chooses a key, and replaces it where it was used enough.
func (k *keyPool) pick(at int) uint32 {
	if k.inUse[at] == 0 || k.useCounts[at] >= maxKeyUses {
		k.next++
		k.inUse[at], k.useCounts[at] = k.next, 0
	}
	k.useCounts[at]++
	return k.inUse[at]
}

// addClients makes the world's clients; without a number in the options the seed decides.
func (w *World) addClients() {
	if w.chance(0.2) {
		w.sessionLimits.MaxPendingRequests, w.sessionLimits.MaxPendingBytes = 2+w.random.IntN(4), 400
	}
	if w.chance(0.2) {
		w.uncommittedBytes = 100 + w.random.Uint64N(400)
	}
	n := 2 + w.random.IntN(6)
	if w.options.Clients > 0 {
		n = w.options.Clients
	}
	for id := 1; id <= n; id++ {
		c := &client{world: w, id: id, member: w.randomMember(), maxInFlight: 1, maxPause: w.randomDuration(20*time.Millisecond, 300*time.Millisecond)}
		if w.chance(0.3) {
			c.maxInFlight = 2 + w.random.IntN(6)
		}
		if w.chance(0.5) {
			c.timeout = w.randomDuration(100*time.Millisecond, 4*time.Second)
		}
		w.clients = append(w.clients, c)
		w.after(w.randomDuration(0, time.Second), c.act)
	}
}

// act begins an operation, and plans the next.
func (c *client) act() {
	w := c.world
	if w.healing {
		return
	}
	if c.inFlight < c.maxInFlight {
		if !c.member.up || w.chance(0.1) {
			c.member = w.randomMember()
		}
		if c.member.up {
			c.begin()
		}
	}
	w.after(w.randomDuration(time.Millisecond, c.maxPause), c.act)
}

// mix is how often a client does what.
var opMix = []Op{
	Put, Put, Put, Append, Append, Append, Append, Append, CompareAndSwap, CompareAndSwap, CompareAndSwap, Delete,
	GetLog, GetIndex, GetIndex, GetIndex, GetIndex, GetLease, GetLeader, GetLocal, GetLocal,
}

func (c *client) begin() {
	w := c.world
	is := command{kind: opMix[w.random.IntN(len(opMix))], key: w.keys.pick(w.random.IntN(keysInUse))}
	is.value = strconv.FormatUint(w.lastCommand+1, 36) + "."
	if is.kind == CompareAndSwap {
		is.expect = w.history.guessValue(is.key)
	}
	if is.kind.Writes() {
		is.padding = w.random.IntN(100)
	}
	c.inFlight++
	m := c.member
	o := w.history.begin(c.id, m, is, func(*operation) { c.inFlight-- })
	if c.timeout > 0 && o.outcome == pending {
		m.after(c.timeout, func() { m.embedder.cancel(o.number) })
	}
}

// guess is what a client may take a key's value to be: what it is now, or was before.
func (h *history) guessValue(key uint32) string {
	all := h.versions[key]
	if len(all) == 0 || h.world.chance(0.1) {
		return ""
	}
	if len(all) > 1 && h.world.chance(0.2) {
		return all[len(all)-2].value
	}
	return all[len(all)-1].value
}
