package node

// readRounds are the reads that wait at a leader for a read point (dissertation §6.4;
// docs/protocol.md P51 to P53). A read point
// is the commit index at the start of a round of heartbeats. When a quorum has acknowledged the
// round, no other leader had committed more when the round started, so the read point covers every
// write that was acknowledged before the read.
//
//	reads arrive     a b c        d e
//	round            ────┬── 7 ───┬── 8 ──▶ time
//	read point           41       43        d must not join round 7: its index is too old (E28)
//
// Rounds are numbered and each heartbeat carries the number of the latest one. A response confirms
// the round that it carries and those before; an old response confirms no newer round (E26).
// Numbers ascend over the term, and heartbeats of other terms do not count.
//
// Before a leader has committed an entry of its term, it does not know the commit index: reads wait
// for that (E25).
type readRounds struct {
	// round is the number of the latest round. A heartbeat between two rounds repeats it, so that a
	// round whose heartbeats were lost is confirmed later.
	round uint64
	// beforeFirstCommit wait for the first commit of the term, collected for the next round.
	beforeFirstCommit, collected []readRequest
	// rounds wait for a quorum, in the order of their numbers.
	rounds []readRound
	// count is the number of all waiting reads.
	count int
}

// readRequest is a request for a read point, of this node's Session (from 0) or of a peer's.
type readRequest struct{ from, id uint64 }

// readRound is a round with its read point.
type readRound struct {
	round, index uint64
	reads        []readRequest
}

func (r *readRounds) waitForFirstCommit(read readRequest) {
	r.beforeFirstCommit = append(r.beforeFirstCommit, read)
	r.count++
}

func (r *readRounds) collect(read readRequest) {
	r.collected = append(r.collected, read)
	r.count++
}

// firstCommit collects the reads that waited for the first commit of the term.
func (r *readRounds) firstCommit() {
	r.collected = append(r.collected, r.beforeFirstCommit...)
	r.beforeFirstCommit = nil
}

// start starts a round for the collected reads. It reports false if there are none.
func (r *readRounds) start(commitIndex uint64) bool {
	reads := r.takeCollected()
	if len(reads) == 0 {
		return false
	}
	r.round++
	r.rounds = append(r.rounds, readRound{round: r.round, index: commitIndex, reads: reads})
	return true
}

// confirm removes and returns the rounds up to the one with this number.
func (r *readRounds) confirm(round uint64) (confirmed []readRound) {
	k := 0
	for k < len(r.rounds) && r.rounds[k].round <= round {
		r.count -= len(r.rounds[k].reads)
		k++
	}
	confirmed, r.rounds = r.rounds[:k], r.rounds[k:]
	return confirmed
}

func (r *readRounds) takeCollected() []readRequest {
	reads := r.collected
	r.collected = nil
	return reads
}
