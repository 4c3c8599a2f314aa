// Package procs runs servers as processes, with real sockets and disks. The tests of the binary
// (tests/cluster, tests/conformance) and the benchmarks (tests/bench) use it.
//
// A server is a Program: a binary and the arguments before its flags. Troupe accepts etcd's flags,
// so the same flags start either. A test that is meaningful for etcd can run against etcd; if it
// fails there, the test is wrong.
//
// The package has three layers, each usable alone:
//
//	Process   a running program: output, exit code, signals, resource usage
//	Member    a server with its data directory and URLs, over successive processes
//	Cluster   the members of one cluster, and their leader
//
// On Linux every process ends with the program that started it, even if that is killed: see
// spawn_linux.go.
package procs
