package node

import "time"

// diskWatch detects that the leader's own disk stalls (E9; docs/protocol.md P75, P81). Replication
// does not wait for it, so a short stall only delays what the leader itself applies. After an
// election timeout without progress another member should lead. The disk of an idle leader is
// probed with an empty Append.
type diskWatch struct {
	// pending: the LogStore has not reported pendingIndex, the mark of the latest Append.
	pending      bool
	pendingIndex uint64
	// lastProgress is when the LogStore last reported, or when it got something to do after it had
	// nothing. lastAppend is when the latest Append was sent.
	lastProgress, lastAppend time.Duration
}

// expect stores that an Append with this mark was sent, to which the LogStore responds.
func (d *diskWatch) expect(now time.Duration, index uint64) {
	if !d.pending {
		d.lastProgress = now
	}
	d.pending, d.pendingIndex = true, index
	d.lastAppend = now
}

// recordDurable stores that the LogStore reported a mark.
func (d *diskWatch) recordDurable(now time.Duration, index uint64) {
	d.pending = index < d.pendingIndex
	d.lastProgress = now
}

// isStalled reports whether the disk makes no progress.
func (d *diskWatch) isStalled(now, electionTimeout time.Duration) bool {
	return d.pending && now-d.lastProgress > electionTimeout
}

// needsProbe reports whether the disk was idle for half an election timeout.
func (d *diskWatch) needsProbe(now, electionTimeout time.Duration) bool {
	return !d.pending && now-d.lastAppend >= electionTimeout/2
}
