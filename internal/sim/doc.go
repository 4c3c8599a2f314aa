// Package sim has the deterministic simulator in its folders:
//
//	world     a cluster of the production actors on one goroutine, in virtual time, from one seed
//	fault     kinds of faults, and the profiles that combine them
//	checker   the invariants, checked after every step against a model of the cluster
//	history   the operations of clients, and whether they are linearizable
//	scenario  scripted worlds
//	trace     the events of a world as a file
//	explain   a trace as text and as an HTML page
//	hash      the hash functions
//
// docs/simulator.md explains how to use it.
package sim
