// Package world holds tests only: whole nodes (Supervisor, Node, LogStore with its reader, Machine, Replicators, each on a
// disk in memory) on one goroutine, in virtual time, out of one seed, with a network that loses, delays, doubles and
// reorders, nodes and actors that crash, disks that are slow and forget what was not synced. After every step it is held
// against what Raft promises. It is the small forerunner of the simulator: what it found is kept as a table of seeds.
package world
