// Package troupe is a Raft cluster performed by actors: hand in a state machine, get a supervised, replicated one.
package troupe

import "context"

// Node is the handle.
type Node struct{}

// Start starts a node.
func Start(ctx context.Context, config any) (*Node, error) { panic("under construction") }
