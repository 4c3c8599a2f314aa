package machine

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/troupe-raft/troupe/raft"
)

// naiveLedger says the same as ledger one entry at a time, with maps and without any batch: exactly-once as one would
// explain it.
type naiveLedger struct {
	limits  limits
	origins map[uint64]*naiveOrigin
	applied []done
	// first is, for each command of ownNode's origins that took effect, where and with what answer.
	first map[order]naiveAnswer
}

type naiveOrigin struct {
	node, lastUsed, watermark, floor uint64
	nonce                            string
	answers                          map[uint64]naiveAnswer
}

type naiveAnswer struct {
	index uint64
	value string
	lost  bool
}

func newNaiveLedger(l limits) *naiveLedger {
	return &naiveLedger{limits: l, origins: map[uint64]*naiveOrigin{}, first: map[order]naiveAnswer{}}
}

func (n *naiveLedger) entry(index, term uint64, data []byte) {
	e, err := raft.DecodeEntry(data)
	if err != nil {
		panic(err)
	}
	switch e.Kind {
	case raft.KindOpenOrigin:
		n.open(index, e.Node, string(e.Payload))
	case raft.KindCloseOrigin:
		delete(n.origins, e.Origin)
	case raft.KindCommand:
		if o := n.origins[e.Origin]; o != nil {
			n.command(o, Command{Index: index, Term: term, Data: e.Payload}, order{e.Origin, e.Sequence}, e.LowestOutstanding)
		}
	}
}

func (n *naiveLedger) open(index, node uint64, nonce string) {
	if len(nonce) > n.limits.nonceBytes {
		return
	}
	same := func(o *naiveOrigin) bool { return o.node == node }
	for _, o := range n.origins {
		if same(o) && o.nonce == nonce {
			o.lastUsed = index
			return
		}
	}
	n.forgetOldest(n.limits.originsOfANode, same)
	n.forgetOldest(n.limits.origins, func(*naiveOrigin) bool { return true })
	n.origins[index] = &naiveOrigin{node: node, nonce: nonce, lastUsed: index, answers: map[uint64]naiveAnswer{}}
}

// forgetOldest makes room for one among those that may be at most max.
func (n *naiveLedger) forgetOldest(max int, among func(o *naiveOrigin) bool) {
	byUse := map[uint64]uint64{}
	for id, o := range n.origins {
		if among(o) {
			byUse[o.lastUsed] = id
		}
	}
	if len(byUse) >= max {
		delete(n.origins, byUse[slices.Min(slices.Collect(maps.Keys(byUse)))])
	}
}

func (n *naiveLedger) command(o *naiveOrigin, c Command, id order, lowest uint64) {
	o.lastUsed = c.Index
	o.watermark = max(o.watermark, lowest)
	o.floor = max(o.floor, o.watermark)
	maps.DeleteFunc(o.answers, func(s uint64, _ naiveAnswer) bool { return s < o.watermark })
	if _, known := o.answers[id.sequence]; known || id.sequence < o.floor {
		return
	}
	value := string(answerTo(c))
	n.applied = append(n.applied, done{c.Index, c.Term, string(c.Data)})
	if o.node == ownNode {
		n.first[id] = naiveAnswer{index: c.Index, value: value}
	}
	if len(value) > n.limits.answerBytes {
		o.answers[id.sequence] = naiveAnswer{index: c.Index, lost: true}
	} else {
		o.answers[id.sequence] = naiveAnswer{index: c.Index, value: value}
	}
	sequences := slices.Sorted(maps.Keys(o.answers))
	if len(sequences) > n.limits.answers {
		o.floor = sequences[0] + 1
		delete(o.answers, sequences[0])
		sequences = sequences[1:]
	}
	total := 0
	for _, s := range slices.Backward(sequences) { // from the newest, what fits stays
		a := o.answers[s]
		if total += len(a.value); total > n.limits.bytes && len(a.value) > 0 {
			o.answers[s] = naiveAnswer{index: a.index, lost: true}
		}
	}
}

func (n *naiveLedger) String() string {
	var b strings.Builder
	for _, id := range slices.Sorted(maps.Keys(n.origins)) {
		o := n.origins[id]
		fmt.Fprintf(&b, "origin %d of %d (%q) last used %d watermark %d floor %d\n", id, o.node, o.nonce, o.lastUsed, o.watermark, o.floor)
		for _, s := range slices.Sorted(maps.Keys(o.answers)) {
			fmt.Fprintf(&b, "  %d at %d: %q lost %v\n", s, o.answers[s].index, o.answers[s].value, o.answers[s].lost)
		}
	}
	return b.String()
}

func (l *ledger) String() string {
	var b strings.Builder
	for _, o := range l.origins {
		fmt.Fprintf(&b, "origin %d of %d (%q) last used %d watermark %d floor %d\n", o.id, o.node, o.nonce, o.lastUsed, o.watermark, o.floor)
		for _, a := range o.answers {
			if a.state == pending {
				fmt.Fprintf(&b, "  %d at %d: pending\n", a.sequence, a.index)
				continue
			}
			fmt.Fprintf(&b, "  %d at %d: %q lost %v\n", a.sequence, a.index, a.value, a.state == dropped)
		}
	}
	return b.String()
}

// small limits are met soon.
var small = limits{origins: 4, originsOfANode: 2, answers: 4, bytes: 40, answerBytes: 20, nonceBytes: 4}

// barriers have sequences from here on in these tests: the index where they stand in the log first, above this.
const barriers = 1000

// drawLog is a log with everything in it that the ledger must cope with.
func drawLog(t *rapid.T) [][]byte {
	var log [][]byte
	var origins []uint64
	sequence := rapid.Uint64Range(0, 14)
	for range rapid.IntRange(1, 60).Draw(t, "entries") {
		index := uint64(len(log)) + 1
		switch kind := rapid.IntRange(0, 15).Draw(t, "kind"); {
		case kind == 0 && len(origins) > 0 && rapid.Bool().Draw(t, "barrier"):
			log = append(log, raft.EncodeBarrier(rapid.SampledFrom(origins).Draw(t, "reader"), barriers+index, 0))
		case kind == 0:
			log = append(log, raft.EncodeNoop())
		case kind <= 2 || len(origins) == 0:
			nonce := rapid.SampledFrom([]string{"a", "b", "c", "d", "too long"}).Draw(t, "nonce")
			log = append(log, raft.EncodeOpenOrigin([]byte(nonce), rapid.SampledFrom([]uint64{ownNode, ownNode, 8, 9}).Draw(t, "node")))
			origins = append(origins, index)
		case kind == 3:
			log = append(log, raft.EncodeCloseOrigin(rapid.SampledFrom(origins).Draw(t, "closed")))
		case kind <= 6 && len(log) > 0:
			log = append(log, rapid.SampledFrom(log).Draw(t, "again"))
		default:
			origin := rapid.SampledFrom(origins).Draw(t, "origin")
			if kind == 7 {
				origin++ // most likely none
			}
			s := sequence.Draw(t, "sequence")
			lowest := s - rapid.Uint64Range(0, s).Draw(t, "older outstanding")
			payload := rapid.SampledFrom([]string{"x", "yyyy", "big:19", "big:20", "big:21", "big:0"}).Draw(t, "command")
			log = append(log, raft.EncodeCommand(origin, s, lowest, []byte(payload)))
		}
	}
	return log
}
