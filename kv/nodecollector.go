package kv

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/raft"
)

// nodeCollector collects a node's metrics at each scrape.
type nodeCollector struct{ metricsSource }

var (
	descPending                 = desc("etcd_server_proposals_pending", "The current number of proposals of this member's clients that wait for their result.")
	descPendingBytes            = desc("troupe_proposals_pending_bytes", "Bytes of the proposals of this member's clients that wait for their result.")
	descPendingReads            = desc("troupe_reads_pending", "Reads of this member's clients that wait for a read point, or for the state machine to apply it.")
	descPendingReadPoints       = desc("troupe_read_points_parked", "Read points that the state machine has not applied.")
	descLeaderPendingReads      = desc("troupe_leader_reads_pending", "At the leader: requested read points that are not confirmed.")
	descRefused                 = desc("troupe_refused_total", "Proposals and reads of this member's clients that were refused because a limit was reached.", "limit")
	descUncommitted             = desc("troupe_uncommitted_bytes", "At the leader: bytes proposed and not committed, or not synced to its disk.")
	descLogMemory               = desc("troupe_log_memory_bytes", "Bytes of the newest part of the log in memory.")
	descSessionBytes            = desc("troupe_session_bytes", "Bytes of the session table: replies cached for proposals that may be retried.")
	descSessions                = desc("troupe_sessions", "Client sessions in the session table.")
	descMailboxDepth            = desc("troupe_mailbox_depth", "Messages in an actor's mailbox.", "actor")
	descActorMessages           = desc("troupe_actor_messages_total", "Messages that an actor has handled.", "actor")
	descActorBusy               = desc("troupe_actor_busy_seconds_total", "Time that an actor has spent handling messages.", "actor")
	descPeerUp                  = desc("troupe_peer_up", "Whether the connection to a peer is up in both directions.", "peer")
	descPeerQueueBytes          = desc("troupe_peer_queue_bytes", "Bytes that wait to be sent to a peer.", "peer")
	descPeerDropped             = desc("troupe_peer_dropped_total", "Messages to a peer that were dropped: it was not connected, or a queue was full.", "peer")
	descPeerSentBytes           = desc("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", "To")
	descPeerReceivedBytes       = desc("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.", "From")
	descPeerConnectionsRejected = desc("troupe_peer_connections_rejected_total", "Connections to the peer port that were closed because there were too many.")
	descLostMessages            = desc("troupe_messages_lost_total", "Messages to an unknown peer or to a stopped actor.")
	descSyncDuration            = desc("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of writing and syncing the log.")
	descSyncBytes               = desc("etcd_disk_wal_write_bytes_total", "Bytes written to the log.")
	descSyncEntries             = desc("troupe_log_synced_entries_total", "Entries written to the log.")
	descLeaderChanges           = desc("etcd_server_leader_changes_seen_total", "The number of leader changes seen.")
)

// Describe sends nothing, as statusCollector's.
func (c *nodeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(metrics chan<- prometheus.Metric) {
	ch := metricChannel(metrics)
	m := c.Metrics()
	ch.gauge(descPending, float64(m.PendingProposals))
	ch.gauge(descPendingBytes, float64(m.PendingProposalBytes))
	ch.gauge(descPendingReads, float64(m.PendingReads))
	ch.gauge(descPendingReadPoints, float64(m.UnappliedReadPoints))
	ch.gauge(descLeaderPendingReads, float64(m.LeaderPendingReads))
	ch.gauge(descUncommitted, float64(m.UncommittedBytes))
	ch.gauge(descLogMemory, float64(m.LogMemoryBytes))
	ch.gauge(descSessionBytes, float64(m.SessionBytes))
	ch.gauge(descSessions, float64(m.Sessions))
	ch.counter(descLeaderChanges, float64(m.LeaderChanges))
	ch.counter(descLostMessages, float64(m.LostMessages))
	ch.counter(descPeerConnectionsRejected, float64(m.PeerConnectionsRejected))
	for _, r := range m.Refusals {
		ch.counter(descRefused, float64(r.Count), r.Limit)
	}
	for _, a := range m.Actors {
		ch.gauge(descMailboxDepth, float64(a.MailboxDepth), a.Name)
		ch.counter(descActorMessages, float64(a.MessagesHandled), a.Name)
		ch.counter(descActorBusy, a.BusyTime.Seconds(), a.Name)
	}
	for _, l := range m.Links {
		id := raft.FormatID(l.PeerID)
		ch.gauge(descPeerUp, boolToFloat(l.Up), id)
		ch.gauge(descPeerQueueBytes, float64(l.QueuedBytes), id)
		ch.counter(descPeerDropped, float64(l.EnvelopesDropped), id)
		ch.counter(descPeerSentBytes, float64(l.BytesSent), id)
		ch.counter(descPeerReceivedBytes, float64(l.BytesReceived), id)
	}
	ch.counter(descSyncBytes, float64(m.SyncBytes))
	ch.counter(descSyncEntries, float64(m.SyncEntries))
	ch <- syncHistogram(&m)
}

func syncHistogram(m *troupe.Metrics) prometheus.Metric {
	buckets := make(map[float64]uint64, len(troupe.SyncDurationBuckets))
	below := uint64(0)
	for i, bound := range troupe.SyncDurationBuckets {
		below += m.SyncDurationCounts[i]
		buckets[bound.Seconds()] = below
	}
	return prometheus.MustNewConstHistogram(descSyncDuration, m.Syncs, m.SyncDuration.Seconds(), buckets)
}
