package kv

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/raft"
)

// nodeCollector collects a node's metrics that have names of etcd at each scrape. Package
// nodemetrics collects those of Troupe.
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
	ch.counter("etcd_server_leader_changes_seen_total", "The number of leader changes seen.", float64(m.LeaderChanges))
	ch.counter("etcd_server_heartbeat_send_failures_total", "At the leader: rounds of heartbeats that were sent more than two heartbeat intervals after the one before.", float64(m.LateHeartbeats))
	c.collectLinks(ch, m.Links)
	ch.gauge("etcd_disk_wal_write_bytes_total", "Bytes written to the log.", float64(m.SyncBytes))
	ch <- syncHistogram(&m)
}

func (c *nodeCollector) collectLinks(ch metricChannel, links []troupe.LinkMetrics) {
	self := raft.EtcdID(c.memberID)
	known := func(id string) {
		ch.gauge("etcd_network_known_peers", "The current number of known peers.", 1, "Local", self, "Remote", id)
	}
	known(self)
	for _, l := range links {
		etcdID := raft.EtcdID(l.PeerID)
		known(etcdID)
		ch.gauge("etcd_network_active_peers", "The current number of active peer connections.", boolToFloat(l.Up), "Local", self, "Remote", etcdID)
		ch.counter("etcd_network_disconnected_peers_total", "The total number of disconnected peers.", float64(l.Disconnects), "Local", self, "Remote", etcdID)
		ch.counter("etcd_network_peer_sent_failures_total", "The total number of messages to a peer that were dropped.", float64(l.EnvelopesDropped), "To", etcdID)
		ch <- roundTripHistogram(&l.RoundTrips, etcdID)
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
