// Package supervisor starts the actors of one node and decides what happens when one of them fails.
//
//	troupe (supervisor)          restarts the Node, or stops it for good
//	└── node                     restarts with everything below it, from disk
//	    ├── log                  an internal error restarts the Node
//	    │   └── reader           restarts alone
//	    ├── machine              an internal error restarts the Node
//	    └── peer-<id> …          the replicators: restart alone
//
// An actor fails by a panic. The type of the value that it panics with decides (see package
// actors): a StorageError, an ApplicationError or a FatalError stops the node, whichever actor
// failed. Every other value is an internal error, and the picture says what restarts. The LogStore
// and the Machine cannot restart alone, because the Node's own state was built from what they
// reported.
//
// Restarts are counted in a sliding window on the environment's clock. More than RestartLimit.Max
// of them stop the node: a member that restarts again and again does not take part, and the others
// cannot see why.
//
// No failure is escalated beyond the supervisor, because Proto.Actor panics there.
package supervisor
