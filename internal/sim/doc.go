// Package sim is the deterministic simulator: whole clusters of the production actors (Supervisor, Node, LogStore with its
// reader, Machine, Replicators) on one goroutine, in virtual time, out of one seed, with a network, disks and clocks that
// misbehave. After every step the cluster is held against what Raft promises (ghost.go).
//
// World is a cluster; Run lets it live under a Profile of misfortune; a Scenario is a script instead. The same Options make
// the same history, byte for byte, on any machine: whatever is drawn comes from the seed, and nothing depends on the order
// of a map, on time or on goroutines.
package sim
