// Package supervisor says who restarts whom, and when a node must stop.
//
//	troupe (Supervisor)          restarts Node; stops it for good when its fault is not one that a restart mends
//	└── node                     restarts with its whole subtree, from disk
//	    ├── log                  a fault of the disk stops the node; a panic of ours restarts the subtree
//	    │   └── reader           restarts alone
//	    ├── machine              a fault of the application stops the node; a panic of ours restarts the subtree
//	    └── peer-<id> …          restart alone
//
// What fails is told by the value it panicked with (actors.StorageError, ApplicationError, Fatal; anything else is a bug
// of ours). Restarts are counted in a window on the environment's clock: too many, and the node stops and says so rather
// than pretending to work. Nothing escalates past Supervisor, because Proto.Actor's own answer to that is to panic.
package supervisor
