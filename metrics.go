package troupe

import (
	"time"

	"github.com/troupe-raft/troupe/actors/live"
	"github.com/troupe-raft/troupe/internal/member"
)

// Metrics are the measurements of a node. Counters count from the start of the node.
type Metrics struct {
	// Syncs counts the syncs of the log; SyncEntries and SyncBytes what they made durable.
	// SyncDuration is the time that they took, including the writes before them.
	Syncs        uint64
	SyncEntries  uint64
	SyncBytes    uint64
	SyncDuration time.Duration
	// SyncDurationCounts counts the syncs by duration. Element i counts those of at most
	// SyncDurationBuckets[i] that are longer than the bucket before; the last element counts the rest.
	SyncDurationCounts [len(SyncDurationBuckets) + 1]uint64
	// LeaderChanges counts the leaders that this member has seen, a leader again in a new term
	// included.
	LeaderChanges uint64
	// EventsDropped counts the events that subscribers of Node.Events missed.
	EventsDropped uint64
	// PendingProposals is the number of this node's commands that wait for their result;
	// PendingProposalBytes is their size.
	PendingProposals     int
	PendingProposalBytes uint64
	// PendingReads is the number of this node's reads that wait. UnappliedReadPoints is the number of
	// read points that the state machine has not reached and for which some of them wait.
	PendingReads        int
	UnappliedReadPoints int
	// Refusals counts this node's refused requests. It holds all limits, always in the same order.
	Refusals []RefusalCount
	// UncommittedBytes is, at a leader, the size of the entries that are not committed, or not on its
	// own disk; at a follower, of the proposals that it collects to forward them.
	UncommittedBytes uint64
	// LeaderPendingReads is the number of read requests that this leader has not confirmed.
	LeaderPendingReads int
	// LogMemoryBytes is the size of the entries that are kept in memory.
	LogMemoryBytes uint64
	// Sessions is the number of client sessions in the session table; SessionBytes is their size.
	Sessions     int
	SessionBytes uint64
	// Actors describes the running actors, ordered by name.
	Actors []ActorMetrics
	// Links describes the connections to the peers, ordered by id.
	Links []LinkMetrics
	// PeerConnectionsRejected counts the connections that were closed because the peer port had too
	// many.
	PeerConnectionsRejected uint64
	// LateHeartbeats counts the rounds of heartbeats that this member, as the leader, sent more than
	// two heartbeat intervals after the one before. It begins at 0 when the node's actors restart.
	LateHeartbeats uint64
	// LostMessages counts the messages that could not be delivered: to an unknown peer, or from a
	// peer to an actor that does not run.
	LostMessages uint64
}

// ActorMetrics describes the load of one actor.
type ActorMetrics struct {
	Name            string // the path of its PID
	MailboxDepth    int    // messages that wait
	MessagesHandled uint64
	BusyTime        time.Duration // spent handling messages
}

// LinkMetrics describes the connection to one peer.
type LinkMetrics struct {
	PeerID                           uint64
	Up                               bool // both directions are connected
	BytesSent, BytesReceived         uint64
	EnvelopesSent, EnvelopesReceived uint64
	EnvelopesDropped                 uint64 // because the peer was not connected, or a queue was full
	QueuedBytes                      int
	Disconnects                      uint64 // how often the connection was lost
	RoundTrips                       RoundTripMetrics
}

// RoundTripMetrics counts round trips to a peer, which the gRPC link measures every few seconds.
type RoundTripMetrics struct {
	Count    uint64
	Duration time.Duration // of all together
	// DurationCounts counts them by duration. Element i counts those of at most RoundTripBuckets[i]
	// that are longer than the bucket before; the last element counts the rest.
	DurationCounts [len(RoundTripBuckets) + 1]uint64
}

// RoundTripBuckets are the upper bounds of RoundTripMetrics.DurationCounts. They are the bounds of
// etcd's etcd_network_peer_round_trip_time_seconds.
var RoundTripBuckets = live.RoundTripBuckets

// SyncDurationBuckets are the upper bounds of Metrics.SyncDurationCounts. They are the bounds of
// etcd's etcd_disk_wal_fsync_duration_seconds, with finer ones below.
var SyncDurationBuckets = member.SyncDurationBuckets

// Metrics returns the current measurements of the node. It never waits for an actor.
func (n *Node) Metrics() Metrics {
	m := n.actorMetrics()
	m.EventsDropped = n.events.droppedCount()
	b := n.core.Session().Backlog()
	m.PendingProposals, m.PendingProposalBytes = b.Proposals, b.ProposalBytes
	m.PendingReads, m.UnappliedReadPoints = b.Reads, b.UnappliedReadPoints
	for _, r := range b.Refusals {
		m.Refusals = append(m.Refusals, RefusalCount(r))
	}
	lost := n.environment.LostMessages()
	m.LostMessages = lost.UnknownPeer + lost.NotPeerMessage + lost.NoReceiver
	m.PeerConnectionsRejected = n.environment.RejectedConnections()
	for _, a := range n.environment.ActorStats() {
		m.Actors = append(m.Actors, ActorMetrics{
			Name: a.Name, MailboxDepth: a.MailboxDepth, MessagesHandled: a.MessagesHandled, BusyTime: a.BusyTime,
		})
	}
	for _, l := range n.environment.LinkStats() {
		m.Links = append(m.Links, LinkMetrics{
			PeerID: l.ID, Up: l.Up, BytesSent: l.BytesSent, BytesReceived: l.BytesReceived,
			EnvelopesSent: l.EnvelopesSent, EnvelopesReceived: l.EnvelopesReceived,
			EnvelopesDropped: l.Dropped, QueuedBytes: l.QueuedBytes, Disconnects: l.Disconnects,
			RoundTrips: RoundTripMetrics{
				Count: l.RoundTrips.Count, Duration: l.RoundTrips.Total, DurationCounts: l.RoundTrips.Durations,
			},
		})
	}
	return m
}

// actorMetrics returns the part of the metrics that the actors report.
func (n *Node) actorMetrics() Metrics {
	views, syncs := n.core.Observer().Views(), n.core.Observer().Syncs()
	return Metrics{
		Syncs: syncs.Count, SyncEntries: syncs.Entries, SyncBytes: syncs.Bytes,
		SyncDuration: syncs.Duration, SyncDurationCounts: syncs.Durations,
		LeaderChanges:    n.leadership.changeCount(),
		UncommittedBytes: views.Node.UncommittedBytes, LogMemoryBytes: views.Node.MemoryBytes,
		LeaderPendingReads: views.Node.PendingReads, LateHeartbeats: views.Node.LateHeartbeats,
		Sessions: views.Machine.Sessions, SessionBytes: views.Machine.SessionBytes,
	}
}
