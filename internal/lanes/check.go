package lanes

import (
	"fmt"

	"github.com/troupe-raft/troupe/messages"
)

// Check returns an error if a message from the connection of member `from` must not be delivered: a
// member may send in its own name only, and only to the Node and to the replicator that serves it
// (E46).
func Check(from uint64, role messages.Receiver, message messages.PeerMessage) error {
	switch {
	case message.SenderID() != from:
		return fmt.Errorf("%s names member %#x as its sender, but came over the connection of member %#x",
			message.ProtoReflect().Descriptor().Name(), message.SenderID(), from)
	case role != messages.Receiver_RECEIVER_NODE && role != messages.Receiver_RECEIVER_REPLICATOR:
		return fmt.Errorf("%s is addressed to %v, which peers may not send to", message.ProtoReflect().Descriptor().Name(), role)
	}
	return nil
}
