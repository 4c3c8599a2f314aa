package handle

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
	// maxSpan is how far commands may be ahead of the oldest that is not answered. The replicated state keeps as many
	// answers of an origin and no more: of a command that came again from further back nobody could say what became of it,
	// and all that waits would have to be told so.
	maxSpan = 1 << 16
	// maxParked is how many read points may wait for the state machine. The reads that come after that share the next one,
	// which is asked for when one of these was reached: so what a slow state machine costs does not grow with the rounds.
	maxParked = 1024

	defaultPendingReads = 1 << 16
)

// A bound is something whose limit was reached, and that refuses what comes until there is room.
type bound int

const (
	requestBytes bound = iota
	pendingRequests
	pendingBytes
	pendingReads
	span
	leaderUncommitted
	leaderReads
	leaderDisk
	bounds
)

// boundNames are how limits are called in LimitError and in the count of refusals: as in Limits, where they stand there.
var boundNames = [bounds]string{
	requestBytes: "MaxRequestBytes", pendingRequests: "MaxPendingRequests", pendingBytes: "MaxPendingBytes",
	pendingReads: "MaxPendingReads", span: "MaxPendingSpan", leaderUncommitted: "MaxUncommittedBytes",
	leaderReads: "leader's MaxPendingReads", leaderDisk: "DiskLowWater",
}

// refusals counts callers that were refused, by the bound that was reached.
type refusals [bounds]atomic.Uint64

// refuse counts one refusal and makes its error.
func (r *refusals) refuse(kind error, b bound, limit uint64) error {
	r[b].Add(1)
	return &LimitError{Kind: kind, Limit: boundNames[b], Value: limit}
}

// Refusals is how many callers were refused since the start because a limit was reached.
type Refusals struct {
	Limit string
	Count uint64
}

// Backlog is what waits at a handle.
type Backlog struct {
	// Proposals that wait for their result, and their bytes.
	Proposals     int
	ProposalBytes uint64
	// Reads that wait, and the ReadPoints among what they wait for that the state machine has not reached.
	Reads      int
	ReadPoints int
	// Refusals by limit, always all of them in the same order.
	Refusals []Refusals
}

// Backlog is what waits now.
func (h *Handle) Backlog() Backlog {
	var b Backlog
	b.Proposals, b.ProposalBytes = h.Pending()
	h.reads.mu.Lock()
	b.Reads, b.ReadPoints = h.reads.waiting, len(h.reads.parked)
	h.reads.mu.Unlock()
	for i := range h.refusals {
		b.Refusals = append(b.Refusals, Refusals{Limit: boundNames[i], Count: h.refusals[i].Load()})
	}
	return b
}
