// Package raft has the rules of Raft as functions of values: the terms of a log, quorums, votes,
// the commit index, nextIndex. Nothing here depends on actors, disks, networks or clocks, so each
// rule can be read next to the paper and has a table test.
//
// The files in the order of the paper:
//
//	term.go             the term rule (Raft §5.1)
//	vote.go             who receives a vote (Raft §5.2, §5.4.1; dissertation §4.2.3, §9.6)
//	logterms.go         the terms of a log: consistency check, conflicts, hints (Raft §5.3)
//	entries.go          consecutive entries as messages carry them
//	entry.go            the bytes of one entry
//	progress.go         nextIndex, matchIndex, the window of requests in flight
//	duplicatefilter.go  copies of a message
//	quorum.go           majorities, one or two of them (Raft §6)
//	commit.go           the commit index (Raft §5.4.2)
//	configuration.go    the members, and which configuration is in effect (Raft §6)
//	lease.go            how long a leader may rely on a lease (dissertation §6.4.1)
//
// Broken invariants panic with the values that violate them. What comes from a peer or a disk is
// checked first (CheckEntries, DecodeEntry, ValidateConfiguration) and refused with an error.
package raft
