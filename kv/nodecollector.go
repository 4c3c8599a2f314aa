package kv

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/raft"
)

// nodeCollector collects a node's metrics at each scrape.
type nodeCollector struct {
	metricsSource
	memberID uint64
}

// Describe sends nothing, as statusCollector's.
func (c *nodeCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *nodeCollector) Collect(metrics chan<- prometheus.Metric) {
	ch := metricChannel(metrics)
	m := c.Metrics()
	ch.gauge("etcd_server_proposals_pending", "The current number of proposals of this member's clients that wait for their result.", float64(m.PendingProposals))
	ch.gauge("troupe_proposals_pending_bytes", "Bytes of the proposals of this member's clients that wait for their result.", float64(m.PendingProposalBytes))
	ch.gauge("troupe_reads_pending", "Reads of this member's clients that wait for a read point, or for the state machine to apply it.", float64(m.PendingReads))
	ch.gauge("troupe_read_points_parked", "Read points that the state machine has not applied.", float64(m.UnappliedReadPoints))
	ch.gauge("troupe_leader_reads_pending", "At the leader: requested read points that are not confirmed.", float64(m.LeaderPendingReads))
	ch.gauge("troupe_uncommitted_bytes", "At the leader: bytes proposed and not committed, or not synced to its disk.", float64(m.UncommittedBytes))
	ch.gauge("troupe_log_memory_bytes", "Bytes of the newest part of the log in memory.", float64(m.LogMemoryBytes))
	ch.gauge("troupe_session_bytes", "Bytes of the session table: replies cached for proposals that may be retried.", float64(m.SessionBytes))
	ch.gauge("troupe_sessions", "Client sessions in the session table.", float64(m.Sessions))
	ch.counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen.", float64(m.LeaderChanges))
	ch.counter("troupe_messages_lost_total", "Messages to an unknown peer or to a stopped actor.", float64(m.LostMessages))
	ch.counter("troupe_peer_connections_rejected_total", "Connections to the peer port that were closed because there were too many.", float64(m.PeerConnectionsRejected))
	for _, r := range m.Refusals {
		ch.counter("troupe_refused_total", "Proposals and reads of this member's clients that were refused because a limit was reached.", float64(r.Count), "limit", r.Limit)
	}
	for _, a := range m.Actors {
		ch.gauge("troupe_mailbox_depth", "Messages in an actor's mailbox.", float64(a.MailboxDepth), "actor", a.Name)
		ch.counter("troupe_actor_messages_total", "Messages that an actor has handled.", float64(a.MessagesHandled), "actor", a.Name)
		ch.counter("troupe_actor_busy_seconds_total", "Time that an actor has spent handling messages.", a.BusyTime.Seconds(), "actor", a.Name)
	}
	ch.counter("etcd_server_heartbeat_send_failures_total", "At the leader: rounds of heartbeats that were sent more than two heartbeat intervals after the one before.", float64(m.LateHeartbeats))
	c.collectLinks(ch, m.Links)
	ch.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", float64(m.SyncBytes))
	ch.counter("troupe_log_synced_entries_total", "Entries written to the log.", float64(m.SyncEntries))
	ch <- syncHistogram(&m)
}

func (c *nodeCollector) collectLinks(ch metricChannel, links []troupe.LinkMetrics) {
	self := raft.EtcdID(c.memberID)
	known := func(id string) {
		ch.gauge("etcd_network_known_peers", "The current number of known peers.", 1, "Local", self, "Remote", id)
	}
	known(self)
	for _, l := range links {
		id, etcdID := raft.FormatID(l.PeerID), raft.EtcdID(l.PeerID)
		known(etcdID)
		ch.gauge("etcd_network_active_peers", "The current number of active peer connections.", boolToFloat(l.Up), "Local", self, "Remote", etcdID)
		ch.counter("etcd_network_disconnected_peers_total", "The total number of disconnected peers.", float64(l.Disconnects), "Local", self, "Remote", etcdID)
		ch.counter("etcd_network_peer_sent_failures_total", "The total number of messages to a peer that were dropped.", float64(l.EnvelopesDropped), "To", etcdID)
		ch <- roundTripHistogram(&l.RoundTrips, etcdID)
		ch.gauge("troupe_peer_up", "Whether the connection to a peer is up in both directions.", boolToFloat(l.Up), "peer", id)
		ch.gauge("troupe_peer_queue_bytes", "Bytes that wait to be sent to a peer.", float64(l.QueuedBytes), "peer", id)
		ch.counter("troupe_peer_dropped_total", "Messages to a peer that were dropped: it was not connected, or a queue was full.", float64(l.EnvelopesDropped), "peer", id)
		ch.counter("etcd_network_peer_sent_bytes_total", "The total number of bytes sent to peers.", float64(l.BytesSent), "To", etcdID)
		ch.counter("etcd_network_peer_received_bytes_total", "The total number of bytes received from peers.", float64(l.BytesReceived), "From", etcdID)
	}
}

func roundTripHistogram(r *troupe.RoundTripMetrics, peer string) prometheus.Metric {
	desc := prometheus.NewDesc("etcd_network_peer_round_trip_time_seconds", "Round-Trip-Time histogram between peers.", []string{"To"}, nil)
	return prometheus.MustNewConstHistogram(desc, r.Count, r.Duration.Seconds(),
		cumulate(troupe.RoundTripBuckets[:], r.DurationCounts[:]), peer)
}

// cumulate returns the buckets of a histogram from the counts of each bucket alone.
func cumulate(bounds []time.Duration, counts []uint64) map[float64]uint64 {
	buckets := make(map[float64]uint64, len(bounds))
	below := uint64(0)
	for i, bound := range bounds {
		below += counts[i]
		buckets[bound.Seconds()] = below
	}
	return buckets
}

func syncHistogram(m *troupe.Metrics) prometheus.Metric {
	desc := prometheus.NewDesc("etcd_disk_wal_fsync_duration_seconds", "The latency distributions of writing and syncing the log.", nil, nil)
	return prometheus.MustNewConstHistogram(desc, m.Syncs, m.SyncDuration.Seconds(),
		cumulate(troupe.SyncDurationBuckets[:], m.SyncDurationCounts[:]))
}
