// Package kv is the key-value application: a replicated store that speaks the etcd v3 API on top of a Troupe node.
package kv

import (
	"context"

	"github.com/troupe-raft/troupe"
)

// Consensus is what the key-value services need of a node. *troupe.Node is one; tests have others.
type Consensus interface {
	// Propose has a command applied exactly once by every member and returns the result of this member's own state
	// machine, after it was applied here. Errors are those of package troupe.
	Propose(ctx context.Context, command []byte) (troupe.Result, error)
	// Read returns once this member's state machine reflects everything that the mode promises.
	Read(ctx context.Context, mode troupe.ReadMode) (troupe.ReadPoint, error)
	// Status is a recent, consistent picture of the node; cheap, never blocks.
	Status() troupe.Status
	// Term is the current term (cheap: it stands in every response header).
	Term() uint64
	// Done is closed when the node has stopped; Err then says why.
	Done() <-chan struct{}
	Err() error
}
