package live

import (
	"time"

	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

// PeerLink carries messages between nodes. There are three: LocalNetwork for nodes of one process,
// package link over gRPC, and package protoremote over Proto.Actor's remote. The actors do not use
// it directly: they send to a PID that Env.PeerPID returns.
//
// A PeerLink keeps these rules:
//   - messages of one sender to one peer on one lane arrive in order, each at most once, or not at
//     all;
//   - Send never blocks;
//   - it delivers a message only if its sender id is that of the connection's peer.
type PeerLink interface {
	// Start opens the link. It is called once, before any other method.
	Start(*PeerReceiver)
	// SetPeers replaces the peers. It ignores the node itself if members contains it. It does not
	// block.
	SetPeers(members []*messages.Member)
	// Send sends a message to an actor of a peer, or drops it. Nobody may change the message
	// afterwards.
	Send(to uint64, role messages.Receiver, message messages.PeerMessage)
	// Close closes all connections. Nothing is delivered after it has returned.
	Close()
	// Stats describes the peers, ordered by id.
	Stats() []PeerStat
}

// PeerStat describes the link to one peer.
type PeerStat struct {
	ID      uint64
	Address string
	// Up is true if both directions are connected. StateDuration is how long that has been so, or not.
	Up            bool
	StateDuration time.Duration
	// Reason is why the link is down; empty while it is up.
	Reason string
	// The counters of what was sent and received. Protoremote and LocalNetwork count envelopes only.
	EnvelopesSent, BytesSent, BatchesSent             uint64
	EnvelopesReceived, BytesReceived, BatchesReceived uint64
	// Dropped counts messages that were not sent: the peer was not connected, or a queue was full.
	Dropped uint64
	// Refused counts messages from this peer that were not delivered because they broke a rule.
	Refused uint64
	// QueuedBytes is the size of the messages that wait to be sent, on both lanes.
	QueuedBytes int
	// Disconnects counts how often the link went down. Only the gRPC link counts it and RoundTrips.
	Disconnects uint64
	RoundTrips  RoundTrips
}

// RoundTrips counts measured round trips to a peer by duration.
type RoundTrips struct {
	Count uint64
	Total time.Duration
	// Durations counts them: element i those of at most RoundTripBuckets[i] that are longer than the
	// bucket before; the last element the rest.
	Durations [len(RoundTripBuckets) + 1]uint64
}

// RoundTripBuckets are the upper bounds of RoundTrips.Durations: those of etcd's
// etcd_network_peer_round_trip_time_seconds.
var RoundTripBuckets = [...]time.Duration{
	100 * time.Microsecond, 200 * time.Microsecond, 400 * time.Microsecond, 800 * time.Microsecond,
	1600 * time.Microsecond, 3200 * time.Microsecond, 6400 * time.Microsecond, 12800 * time.Microsecond,
	25600 * time.Microsecond, 51200 * time.Microsecond, 102400 * time.Microsecond, 204800 * time.Microsecond,
	409600 * time.Microsecond, 819200 * time.Microsecond, 1638400 * time.Microsecond, 3276800 * time.Microsecond,
}

// Add counts one round trip.
func (r *RoundTrips) Add(took time.Duration) {
	r.Count++
	r.Total += took
	i := 0
	for i < len(RoundTripBuckets) && took > RoundTripBuckets[i] {
		i++
	}
	r.Durations[i]++
}

// CheckPeerMessage returns an error if a message from the connection of member `from` must not be
// delivered: a member may send in its own name only, and only to the Node and to the replicator
// that serves it (E46).
func CheckPeerMessage(from uint64, role messages.Receiver, message messages.PeerMessage) error {
	return lanes.Check(from, role, message)
}

// noLink is the link of a node without peers.
type noLink struct{}

func (noLink) Start(*PeerReceiver)                                  {}
func (noLink) SetPeers([]*messages.Member)                          {}
func (noLink) Send(uint64, messages.Receiver, messages.PeerMessage) {}
func (noLink) Close()                                               {}
func (noLink) Stats() []PeerStat                                    { return nil }
