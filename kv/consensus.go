// Package kv serves the etcd v3 API from a replicated key-value store (package mvcc) on a Troupe
// node.
package kv

import (
	"context"

	"github.com/troupe-raft/troupe"
)

// Consensus is what the server needs of a node; *troupe.Node implements it. Errors are those of
// package troupe.
type Consensus interface {
	// Propose replicates a command, which every member applies exactly once, and returns the result
	// of this member's state machine after it has applied the command.
	Propose(ctx context.Context, command []byte) (troupe.Result, error)
	// Read returns once this member's state machine is as recent as the mode guarantees.
	Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error)
	// Status returns a recent, consistent description of the node. It never blocks.
	Status() troupe.Status
	// Term returns the current Raft term. It is called for every response.
	Term() uint64
	// Done is closed when the node has stopped; Err then returns the reason.
	Done() <-chan struct{}
	Err() error
}

// leaderMover is an optional interface of a Consensus that can transfer leadership.
type leaderMover interface {
	TransferLeadership(ctx context.Context, to uint64) error
}

// metricsSource is an optional interface of a Consensus that has metrics of its own.
type metricsSource interface {
	Status() troupe.Status
	Metrics() troupe.Metrics
}
