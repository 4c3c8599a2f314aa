// Package procs runs servers as their users do: real processes, real sockets, real disks. The tests
// of the binary (tests/cluster, tests/conformance) and the benchmarks (tests/bench) share it.
//
// A server is a Program: a binary and the arguments before its flags. Troupe takes etcd's flags, so
// one set of flags starts either, and every test that makes sense for etcd can be run against etcd:
// a test that fails there is itself wrong.
//
// Three layers, each usable alone:
//
//	Process   one program: its output, its end, signals, what it used of the machine
//	Member    a server with its data directory and URLs, that can be killed and started again on both
//	Cluster   members of one cluster, with functions to find the leader and to make a client
//
// Nothing started here outlives the program that started it, however that program ends: see
// spawn_linux.go.
package procs
