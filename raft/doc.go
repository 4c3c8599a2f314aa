// Package raft holds the rules of Raft as plain values and functions: what a log looks like without its bytes, what a
// quorum has acknowledged, who gets a vote, what is committed, where nextIndex goes. Nothing here knows of actors, disks,
// networks or clocks, so each rule can be read beside the paper and tried in a table test.
//
// The files, in the order in which the paper tells them:
//
//	vote.go           who gets a vote (Raft §5.2, §5.4.1; dissertation §4.2.3, §9.6)
//	logindex.go       the terms of the log: the consistency check, conflicts, hints (Raft §5.3)
//	entries.go        pieces of the log as messages carry them
//	entry.go          the bytes of one entry
//	progress.go       nextIndex, matchIndex, what is in flight
//	quorum.go         majorities, one or two of them (Raft §6)
//	commit.go         what is committed (Raft §5.4.2)
//	configuration.go  who takes part, and the way back when that entry is truncated (Raft §6)
//	lease.go          how long a leader may trust its followers' patience (dissertation §6.4.1)
//
// Broken invariants panic with the values that broke them: the actor that asked dies, and supervision decides. What comes
// from a peer or a disk is checked first (CheckEntries, DecodeEntry, ValidateConfiguration) and refused with an error.
package raft
