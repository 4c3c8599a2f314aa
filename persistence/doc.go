// Package persistence keeps what must survive a crash: the log of Raft with term and vote, the identity of the data
// directory, and the lock on it. All of it is written through a vfs.FS.
//
// The log is the centre. Its unit is the frame: one batch of entries together with the hard state, written with one write,
// made durable with one sync, valid as a whole or not at all. Frames fill segments; docs/storage-format.md has every byte.
//
// What holds at any moment, and what the tests try to break:
//
//   - Nothing is published (to a Reader, to the caller) before the sync of its frame has returned.
//   - A frame is never written over. A conflicting suffix is overridden by a later frame; what a crash tore is left where
//     it lies, and the next segment's header says where its predecessor ends: bytes beyond are ignored for ever.
//   - A frame says how far its segment was synced when it was written. So a damaged frame below a later frame's claim is
//     rot, and refused; one above every claim is a write that never finished, and dropped (E7).
//   - What is above every claim but whole may or may not be on the disk: the sync after it may have failed, and a system
//     that failed a sync reports success the next time (E5). So recovery does not trust a second sync of the old file: it
//     writes such frames anew, in the segment that every open begins, before anything read from them is spoken.
//   - The first error of a write or sync ends the log: every later call returns it.
package persistence
