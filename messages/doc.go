// Package messages holds every message that actors exchange, within a node and between nodes.
//
// log.proto has the content of the log, peer.proto the messages between nodes, local.proto those
// within a node. Messages are immutable once sent.
package messages
