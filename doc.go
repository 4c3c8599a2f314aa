// Package troupe replicates a state machine with the Raft consensus algorithm. Each part of a
// member is a Proto.Actor actor, restarted by a supervisor when it fails.
//
// A Node is one member of a cluster. Start opens its data directory, starts its actors and connects
// to its peers:
//
//	node, err := troupe.Start(ctx, troupe.Config{
//		ID:           1,
//		Members:      members,
//		DataDir:      "/var/lib/app",
//		StateMachine: func() (troupe.StateMachine, error) { return &counter{}, nil },
//		PeerLink:     &troupe.PeerLink{Listeners: []net.Listener{listener}},
//	})
//	result, err := node.Propose(ctx, []byte("increment"))
//
// Every member accepts proposals and reads and forwards them to the leader. A proposal takes effect
// exactly once, also when the leader changes, as long as the process that proposed it runs. Reads
// have five modes; the default, ReadIndex, is linearizable and works at every member.
//
// StartCluster runs a whole cluster in one process, for tests and for learning.
//
// docs/embedding.md is a guide to this package, docs/protocol.md the protocol, and docs/limits.md
// the list of all limits.
package troupe
