// Package persistence stores what a member must not lose in a crash: the write-ahead log of Raft
// with its hard state (term, vote, commit index), the identity of the data directory, and the lock
// on it. All I/O goes through a vfs.FS, so that tests can inject every fault and every crash.
//
// # Frames and segments
//
// The unit of the log is the frame: one batch of entries together with the hard state, written with
// one write, made durable with one sync, valid as a whole or not at all. Frames fill segments:
//
//	00…01.seg                                00…02.seg (active)
//	┌────────┬──────┬───────┬───┬───────┐    ┌────────┬──────┬───────┬───────┬─────────┐
//	│ header │ open │ batch │ … │ index │ ◄──│ header │ open │ batch │ batch │ zeros … │
//	└────────┴──────┴───────┴───┴───────┘    └────────┴──────┴───────┴───────┴─────────┘
//	                              │            previous: 00…01, its end, its last CRC
//	                              └ of this segment's entries
//
// A segment ends where its successor's header says; bytes beyond are ignored.
// docs/storage-format.md specifies every byte.
//
// # Invariants
//
//   - Nothing of a batch is visible, to the caller or to a Reader, before the sync of its frame has
//     returned (E13).
//   - A frame is never overwritten. A later frame overrides a conflicting suffix.
//   - A frame records up to which offset its segment was durable when it was written. So an invalid
//     frame below that offset of a later frame is corruption, and the start is refused; an invalid
//     frame above all of them is a write that did not finish, and is dropped (E7).
//   - A valid frame above all durable offsets may or may not be on the disk: its sync may have
//     failed, and an operating system that failed a sync reports success for the next one (E5). So
//     recovery does not sync the old file again; it writes such frames to the new segment before it
//     reports them.
//   - The first error of a write or sync ends the log: every later call returns it (E5).
package persistence
