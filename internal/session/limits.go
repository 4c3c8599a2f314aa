package session

import "sync/atomic"

// Limits bound what waits at the handle, and each command.
type Limits struct {
	// MaxRequestBytes is the largest command.
	MaxRequestBytes uint64
	// MaxPendingRequests and MaxPendingBytes bound the commands that wait for their result, those included that wait for
	// the handle to be known to the cluster before they can be sent.
	MaxPendingRequests int
	MaxPendingBytes    uint64
	// MaxPendingReads is how many reads may wait: for their point, for the state machine to reach it, for the replay after
	// a start. 0: 65536.
	MaxPendingReads int
}

const (
	// maxPendingSpan is how far commands may be ahead of the oldest that is not answered. The replicated state keeps as many
	// answers of an origin and no more: of a command that came again from further back nobody could say what became of it,
	// and all that waits would have to be told so.
	maxPendingSpan = 1 << 16
	// maxUnappliedReadPoints is how many read points may wait for the state machine. The reads that come after that share the next one,
	// which is asked for when one of these was reached: so what a slow state machine costs does not grow with the rounds.
	maxUnappliedReadPoints = 1024
)

// A bound is something whose limit was reached, and that refuses what comes until there is room.
type limitKind int

const (
	limitRequestBytes limitKind = iota
	limitPendingRequests
	limitPendingBytes
	limitPendingReads
	limitPendingSpan
	limitLeaderUncommitted
	limitLeaderReads
	limitLeaderDisk
	limitKinds
)

// limitNames are how limits are called in LimitError and in the count of refusals: as in Limits, where they stand there.
var limitNames = [limitKinds]string{
	limitRequestBytes: "MaxRequestBytes", limitPendingRequests: "MaxPendingRequests", limitPendingBytes: "MaxPendingBytes",
	limitPendingReads: "MaxPendingReads", limitPendingSpan: "MaxPendingSpan", limitLeaderUncommitted: "MaxUncommittedBytes",
	limitLeaderReads: "leader's MaxPendingReads", limitLeaderDisk: "DiskLowWater",
}

// refusals counts callers that were refused, by the bound that was reached.
type refusalCounters [limitKinds]atomic.Uint64

// refuse counts one refusal and makes its error.
func (r *refusalCounters) refuse(kind error, b limitKind, limit uint64) error {
	r[b].Add(1)
	return &LimitError{Kind: kind, Limit: limitNames[b], Value: limit}
}

// RefusalCount is how many callers were refused since the start because a limit was reached.
type RefusalCount struct {
	Limit string
	Count uint64
}

// Backlog is what waits at a handle.
type Backlog struct {
	// Proposals that wait for their result, and their bytes.
	Proposals     int
	ProposalBytes uint64
	// Reads that wait, and the UnappliedReadPoints among what they wait for that the state machine has not reached.
	Reads               int
	UnappliedReadPoints int
	// RefusalCount by limit, always all of them in the same order.
	Refusals []RefusalCount
}

// Backlog is what waits now.
func (h *Session) Backlog() Backlog {
	var b Backlog
	b.Proposals, b.ProposalBytes = h.Pending()
	h.reads.mu.Lock()
	b.Reads, b.UnappliedReadPoints = h.reads.waitingReads, len(h.reads.unapplied)
	h.reads.mu.Unlock()
	for i := range h.refusals {
		b.Refusals = append(b.Refusals, RefusalCount{Limit: limitNames[i], Count: h.refusals[i].Load()})
	}
	return b
}
