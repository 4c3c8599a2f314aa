package actors

// IsStale reports whether a message was sent to another incarnation of the node's actors. Every
// actor drops such a message, because its state does not fit (docs/protocol.md P89). Messages of
// peers and of the library have no incarnation.
func IsStale(message any, incarnation uint64) bool {
	local, ok := message.(interface{ GetIncarnation() uint64 })
	return ok && local.GetIncarnation() != incarnation
}
