package live

import (
	"fmt"
	"time"

	"github.com/troupe-raft/troupe/messages"
)

// PeerLink carries messages between nodes. Three are made: LocalNetwork for nodes of one process, package link over gRPC, package
// protoremote over Proto.Actor's own remote. An actor knows none of them: it sends to a PID.
//
// What a link promises: messages of one sender to one peer on one lane arrive in order, each at most once, or not at all;
// Send never waits; only the kinds of messages.Letter pass; a message says the truth about who sent it.
type PeerLink interface {
	// Start opens the link. Called once, before any other method.
	Start(*PeerReceiver)
	// SetPeers replaces whom the link talks to. Members includes the node itself or not, as it likes. It does not wait.
	SetPeers(members []*messages.Member)
	// Send passes message on to an actor of a peer, or drops it. The message is immutable from now on.
	Send(to uint64, role messages.Role, message messages.PeerMessage)
	// Close ends all connections. Nothing is delivered once it has returned.
	Close()
	// Stats describes the peers, by id.
	Stats() []PeerStat
}

// PeerStat is what a link can tell of one peer.
type PeerStat struct {
	ID      uint64
	Address string
	// Up says that both directions stand; Since is how long they have, or have not.
	Up            bool
	StateDuration time.Duration
	// Reason is why the link is down; empty while it is up.
	Reason string
	// EnvelopesSent, BytesSent, BatchesSent count what was handed to the network; the likes of Received what came.
	EnvelopesSent, BytesSent, BatchesSent             uint64
	EnvelopesReceived, BytesReceived, BatchesReceived uint64
	// Dropped counts letters that were given up: the peer was away, or a queue was at its limit.
	Dropped uint64
	// Refused counts letters from this peer that broke a rule.
	Refused uint64
	// QueuedBytes wait to be sent, on both lanes.
	QueuedBytes int
}

// CheckPeerMessage returns an error if a message from the connection of member `from` must not be delivered: a member may
// send in its own name only, and only to the Node and to its replicator (E46).
func CheckPeerMessage(from uint64, role messages.Role, message messages.PeerMessage) error {
	switch {
	case message.SenderID() != from:
		return fmt.Errorf("%s names member %x as its sender, but came over the connection of member %x",
			message.ProtoReflect().Descriptor().Name(), message.SenderID(), from)
	case role != messages.Role_ROLE_NODE && role != messages.Role_ROLE_REPLICATOR:
		return fmt.Errorf("%s is addressed to %v, which peers may not write to", message.ProtoReflect().Descriptor().Name(), role)
	}
	return nil
}

// nowhere is the link of a node without peers.
type noLink struct{}

func (noLink) Start(*PeerReceiver)                              {}
func (noLink) SetPeers([]*messages.Member)                      {}
func (noLink) Send(uint64, messages.Role, messages.PeerMessage) {}
func (noLink) Close()                                           {}
func (noLink) Stats() []PeerStat                                { return nil }
