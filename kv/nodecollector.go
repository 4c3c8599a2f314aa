package kv

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"

	"github.com/troupe-raft/troupe/raft"
)

// meter is what a Consensus may be besides: one that counts. Everything in a node that has a limit (docs/limits.md) shows
// by it how near the limit it is, and how often that was reached.
type metricsSource interface {
	Metrics() troupe.Metrics
}

// nodeCollector reads a meter once a scrape.
type nodeCollector struct{ metricsSource }

var (
	descPending                 = desc("etcd_server_proposals_pending", "The current number of proposals of this member's clients that wait for their result.")
	descPendingBytes            = desc("troupe_proposals_pending_bytes", "Bytes of the proposals of this member's clients that wait for their result.")
	descPendingReads            = desc("troupe_reads_pending", "Reads of this member's clients that wait for a read point, or for the state machine to reach it.")
	descPendingReadPoints       = desc("troupe_read_points_parked", "Read points that the state machine has not reached.")
	descLeaderPendingReads      = desc("troupe_leader_reads_pending", "At the leader: read points that are asked of it and not confirmed.")
	descRefused                 = desc("troupe_refused_total", "Proposals and reads of this member's clients that were refused because a limit was reached.", "limit")
	descUncommitted             = desc("troupe_uncommitted_bytes", "At the leader: bytes proposed and not committed, or not on its own disk.")
	descLogMemory               = desc("troupe_log_memory_bytes", "Bytes of the newest part of the log in memory.")
	descSessionBytes            = desc("troupe_ledger_bytes", "Bytes of answers that are kept for proposals that may come again.")
	descSessions                = desc("troupe_ledger_origins", "Processes of members whose answers are kept.")
	descMailboxDepth            = desc("troupe_mailbox_depth", "Messages that wait in an actor's mailbox.", "actor")
	descActorMessages           = desc("troupe_actor_messages_total", "Messages that an actor has handled.", "actor")
	descActorBusy               = desc("troupe_actor_busy_seconds_total", "Time that an actor has worked.", "actor")
	descPeerUp                  = desc("troupe_peer_up", "Whether the connection to a peer stands in both directions.", "peer")
	descPeerQueueBytes          = desc("troupe_peer_queue_bytes", "Bytes that wait to be sent to a peer.", "peer")
	descPeerDropped             = desc("troupe_peer_dropped_total", "Messages to a peer that were given up: it was away, or a queue was at its limit.", "peer")
	descPeerSentBytes           = desc("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", "To")
	descPeerReceivedBytes       = desc("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.", "From")
	descPeerConnectionsRejected = desc("troupe_peer_connections_rejected_total", "Connections to the peer port that were closed because there were too many.")
	descLostMessages            = desc("troupe_messages_lost_total", "Messages that could not be handed to anyone: for a peer that is not known, or for an actor that is no more.")
	descSyncDuration            = desc("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of writing and syncing the log.")
	descSyncBytes               = desc("etcd_disk_wal_write_bytes_total", "Bytes written to the log.")
	descSyncEntries             = desc("troupe_log_synced_entries_total", "Entries written to the log.")
	descLeaderChanges           = desc("etcd_server_leader_changes_seen_total", "The number of leader changes seen.")
)

// Describe says nothing, as statusCollector's.
func (c *nodeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect reads the meter.
func (c *nodeCollector) Collect(ch chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
	}
	m := c.Metrics()
	gauge(descPending, float64(m.PendingProposals))
	gauge(descPendingBytes, float64(m.PendingProposalBytes))
	gauge(descPendingReads, float64(m.PendingReads))
	gauge(descPendingReadPoints, float64(m.UnappliedReadPoints))
	gauge(descLeaderPendingReads, float64(m.LeaderPendingReads))
	gauge(descUncommitted, float64(m.UncommittedBytes))
	gauge(descLogMemory, float64(m.LogMemoryBytes))
	gauge(descSessionBytes, float64(m.SessionBytes))
	gauge(descSessions, float64(m.Sessions))
	count(descLeaderChanges, float64(m.LeaderChanges))
	count(descLostMessages, float64(m.LostMessages))
	count(descPeerConnectionsRejected, float64(m.PeerConnectionsRejected))
	for _, r := range m.Refusals {
		count(descRefused, float64(r.Count), r.Limit)
	}
	for _, a := range m.Actors {
		gauge(descMailboxDepth, float64(a.MailboxDepth), a.Name)
		count(descActorMessages, float64(a.MessagesHandled), a.Name)
		count(descActorBusy, a.BusyTime.Seconds(), a.Name)
	}
	for _, l := range m.Links {
		id := raft.FormatID(l.PeerID)
		gauge(descPeerUp, boolToFloat(l.Up), id)
		gauge(descPeerQueueBytes, float64(l.QueuedBytes), id)
		count(descPeerDropped, float64(l.EnvelopesDropped), id)
		count(descPeerSentBytes, float64(l.BytesSent), id)
		count(descPeerReceivedBytes, float64(l.BytesReceived), id)
	}
	count(descSyncBytes, float64(m.SyncBytes))
	count(descSyncEntries, float64(m.SyncEntries))
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
