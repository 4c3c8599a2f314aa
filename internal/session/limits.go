package session

import "sync/atomic"

// Limits bound the requests of one Session that are pending.
type Limits struct {
	// MaxRequestBytes is the size of the largest command.
	MaxRequestBytes uint64
	// MaxPendingRequests bounds the commands that wait for their result, MaxPendingBytes their size.
	// Both count the commands that wait for the registration of the client session.
	MaxPendingRequests int
	MaxPendingBytes    uint64
	// MaxPendingReads bounds the reads that wait: for a read point, for the state machine to reach it,
	// or for the replay after a start. Zero is defaults.MaxPendingReads.
	MaxPendingReads int
}

const (
	// maxPendingSpan bounds the sequences from the oldest pending command to the newest. The session
	// table keeps as many replies (P68). If a command were further behind and had to be sent again,
	// its outcome would be unknown, and with it that of all pending commands.
	maxPendingSpan = 1 << 16
	// maxUnappliedReadPoints bounds the read points that the state machine has not reached. While
	// there are as many, later reads gather for the next one. So a slow state machine does not make
	// the number of read points grow.
	maxUnappliedReadPoints = 1024
)

// limitKind is a limit that refuses requests.
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

// limitNames are the names of the limits in errors and metrics.
var limitNames = [limitKinds]string{
	limitRequestBytes:      "MaxRequestBytes",
	limitPendingRequests:   "MaxPendingRequests",
	limitPendingBytes:      "MaxPendingBytes",
	limitPendingReads:      "MaxPendingReads",
	limitPendingSpan:       "MaxPendingSpan",
	limitLeaderUncommitted: "MaxUncommittedBytes",
	limitLeaderReads:       "leader's MaxPendingReads",
	limitLeaderDisk:        "DiskLowWater",
}

// refusalCounters counts the refused requests by limit.
type refusalCounters [limitKinds]atomic.Uint64

// refuse counts a refusal and returns its error.
func (r *refusalCounters) refuse(kind error, limit limitKind, value uint64) error {
	r[limit].Add(1)
	return &LimitError{Kind: kind, Limit: limitNames[limit], Value: value}
}

// RefusalCount is the number of requests that were refused because one limit was reached.
type RefusalCount struct {
	Limit string // its name, as in LimitError
	Count uint64
}

// Backlog describes the pending requests of a Session.
type Backlog struct {
	// Proposals is the number of commands that wait for their result, ProposalBytes their size.
	Proposals     int
	ProposalBytes uint64
	// Reads is the number of reads that wait. UnappliedReadPoints is the number of read points that
	// the state machine has not reached.
	Reads               int
	UnappliedReadPoints int
	// Refusals has an element for each limit, always in the same order.
	Refusals []RefusalCount
}

// Backlog returns the current backlog.
func (s *Session) Backlog() Backlog {
	var b Backlog
	b.Proposals, b.ProposalBytes = s.proposals.pending()
	b.Reads, b.UnappliedReadPoints = s.reads.pending()
	for i := range s.refusals {
		b.Refusals = append(b.Refusals, RefusalCount{Limit: limitNames[i], Count: s.refusals[i].Load()})
	}
	return b
}
