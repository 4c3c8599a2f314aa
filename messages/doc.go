// Package messages is the vocabulary of Troupe: every message that actors exchange, over the wire or within a node.
//
// log.proto holds what is written down (hard state, entries, configurations), peer.proto what nodes say to each other,
// local.proto what the actors of one node say among themselves. Messages are immutable once sent.
package messages
