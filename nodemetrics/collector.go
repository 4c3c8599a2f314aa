// Package nodemetrics gives the measurements of a troupe.Node to Prometheus.
//
// It is a package of its own, so that a program without Prometheus does not contain it:
//
//	registry.MustRegister(nodemetrics.New(node))
//
// The names begin with troupe_. The server of package kv serves the same metrics, and some of them
// under etcd's names as well.
package nodemetrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/raft"
)

// Source is what is measured; *troupe.Node implements it.
type Source interface {
	Status() troupe.Status
	Metrics() troupe.Metrics
}

// New returns a collector of a node's measurements. It reads them at each scrape and keeps nothing.
// To collect several nodes of one process, wrap the registerer with a label for each
// (prometheus.WrapRegistererWith).
func New(node Source) prometheus.Collector { return &collector{node} }

type collector struct{ node Source }

// Describe sends nothing, which makes the collector unchecked: its metrics have constant names.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(metrics chan<- prometheus.Metric) {
	ch := channel(metrics)
	s, m := c.node.Status(), c.node.Metrics()
	collectStatus(ch, &s)
	collectRequests(ch, &m)
	collectLog(ch, &m)
	for _, a := range m.Actors {
		ch.gauge("troupe_mailbox_depth", "Messages in an actor's mailbox.", float64(a.MailboxDepth), "actor", a.Name)
		ch.counter("troupe_actor_messages_total", "Messages that an actor has handled.", float64(a.MessagesHandled), "actor", a.Name)
		ch.counter("troupe_actor_busy_seconds_total", "Time that an actor has spent handling messages.", a.BusyTime.Seconds(), "actor", a.Name)
	}
	for _, l := range m.Links {
		collectLink(ch, &l)
	}
}

func collectStatus(ch channel, s *troupe.Status) {
	ch.gauge("troupe_has_leader", "Whether this member knows a leader.", number(s.LeaderID != 0))
	ch.gauge("troupe_serving", "Whether the state machine has applied what was committed before the start.", number(s.Serving))
	ch.gauge("troupe_raft_term", "The current Raft term.", float64(s.Term))
	ch.gauge("troupe_raft_role", "1 for 'role' label with the current role.", 1, "role", s.Role)
	ch.gauge("troupe_commit_index", "The commit index.", float64(s.CommitIndex))
	ch.gauge("troupe_applied_index", "The index of the last entry that was applied.", float64(s.AppliedIndex))
	ch.gauge("troupe_log_last_index", "The last index of the log.", float64(s.LastIndex))
	ch.gauge("troupe_log_first_index", "The first index of the log.", float64(s.FirstIndex))
	ch.gauge("troupe_log_bytes", "The size of the log on disk in bytes.", float64(s.LogBytes))
	ch.gauge("troupe_rejoining", "Whether this member waits to rejoin with a new data directory.", number(s.Rejoining))
	ch.gauge("troupe_disk_low", "Whether the disk is below its low-water mark, so that writes are refused.", number(s.DiskLow))
	ch.counter("troupe_actor_restarts_total", "Restarts of actors by their supervisor since the process started.", float64(s.Restarts))
	for _, p := range s.Peers {
		id := raft.FormatID(p.ID)
		ch.gauge("troupe_peer_match_index", "At the leader: the last index known to be durable at a peer.", float64(p.Match), "peer", id)
		ch.gauge("troupe_peer_inflight_bytes", "At the leader: bytes sent to a peer and not acknowledged yet.", float64(p.InFlightBytes), "peer", id)
		ch.gauge("troupe_peer_lost_entries", "At the leader: whether a peer lacks entries that it had acknowledged; it must rejoin.", number(p.LostEntries), "peer", id)
		ch.gauge("troupe_peer_asks_to_rejoin", "At the leader: whether a peer waits to rejoin with a new data directory.", number(p.AsksToRejoin != ""), "peer", id)
	}
}

func collectRequests(ch channel, m *troupe.Metrics) {
	ch.gauge("troupe_proposals_pending", "Proposals of this member's clients that wait for their result.", float64(m.PendingProposals))
	ch.gauge("troupe_proposals_pending_bytes", "Bytes of the proposals of this member's clients that wait for their result.", float64(m.PendingProposalBytes))
	ch.gauge("troupe_reads_pending", "Reads of this member's clients that wait for a read point, or for the state machine to apply it.", float64(m.PendingReads))
	ch.gauge("troupe_read_points_parked", "Read points that the state machine has not applied.", float64(m.UnappliedReadPoints))
	ch.gauge("troupe_leader_reads_pending", "At the leader: requested read points that are not confirmed.", float64(m.LeaderPendingReads))
	ch.gauge("troupe_uncommitted_bytes", "At the leader: bytes proposed and not committed, or not synced to its disk.", float64(m.UncommittedBytes))
	ch.gauge("troupe_session_bytes", "Bytes of the session table: replies cached for proposals that may be retried.", float64(m.SessionBytes))
	ch.gauge("troupe_sessions", "Client sessions in the session table.", float64(m.Sessions))
	ch.counter("troupe_leader_changes_total", "Leaders that this member has seen.", float64(m.LeaderChanges))
	ch.counter("troupe_events_dropped_total", "Events that subscribers of the node's events missed.", float64(m.EventsDropped))
	ch.counter("troupe_late_heartbeats_total", "At the leader: rounds of heartbeats that were sent more than two heartbeat intervals after the one before.", float64(m.LateHeartbeats))
	ch.counter("troupe_messages_lost_total", "Messages to an unknown peer or to a stopped actor.", float64(m.LostMessages))
	ch.counter("troupe_peer_connections_rejected_total", "Connections to the peer port that were closed because there were too many.", float64(m.PeerConnectionsRejected))
	for _, r := range m.Refusals {
		ch.counter("troupe_refused_total", "Proposals and reads of this member's clients that were refused because a limit was reached.", float64(r.Count), "limit", r.Limit)
	}
}

func collectLog(ch channel, m *troupe.Metrics) {
	ch.gauge("troupe_log_memory_bytes", "Bytes of the newest part of the log in memory.", float64(m.LogMemoryBytes))
	ch.counter("troupe_log_synced_entries_total", "Entries written to the log.", float64(m.SyncEntries))
	ch.counter("troupe_log_synced_bytes_total", "Bytes written to the log.", float64(m.SyncBytes))
	ch <- histogram(syncDesc, m.Syncs, m.SyncDuration, troupe.SyncDurationBuckets[:], m.SyncDurationCounts[:])
}

// histogram makes a histogram of durations from the counts of each bucket alone.
func histogram(desc *prometheus.Desc, count uint64, sum time.Duration, bounds []time.Duration, counts []uint64, labels ...string) prometheus.Metric {
	buckets := make(map[float64]uint64, len(bounds))
	below := uint64(0)
	for i, bound := range bounds {
		below += counts[i]
		buckets[bound.Seconds()] = below
	}
	return prometheus.MustNewConstHistogram(desc, count, sum.Seconds(), buckets, labels...)
}

var (
	syncDesc      = prometheus.NewDesc("troupe_log_sync_duration_seconds", "The durations of writing and syncing the log.", nil, nil)
	roundTripDesc = prometheus.NewDesc("troupe_peer_round_trip_seconds", "The round-trip times of heartbeats to a peer.", []string{"peer"}, nil)
)

func collectLink(ch channel, l *troupe.LinkMetrics) {
	id := raft.FormatID(l.PeerID)
	ch.gauge("troupe_peer_up", "Whether the connection to a peer is up in both directions.", number(l.Up), "peer", id)
	ch.gauge("troupe_peer_queue_bytes", "Bytes that wait to be sent to a peer.", float64(l.QueuedBytes), "peer", id)
	ch.counter("troupe_peer_dropped_total", "Messages to a peer that were dropped: it was not connected, or a queue was full.", float64(l.EnvelopesDropped), "peer", id)
	ch.counter("troupe_peer_disconnects_total", "Connections to a peer that broke.", float64(l.Disconnects), "peer", id)
	ch <- histogram(roundTripDesc, l.RoundTrips.Count, l.RoundTrips.Duration, troupe.RoundTripBuckets[:], l.RoundTrips.DurationCounts[:], id)
	ch.counter("troupe_peer_sent_bytes_total", "Bytes sent to a peer.", float64(l.BytesSent), "peer", id)
	ch.counter("troupe_peer_received_bytes_total", "Bytes received from a peer.", float64(l.BytesReceived), "peer", id)
}

// channel sends constant metrics to a scrape. label is the name and the value of a label, or
// nothing.
type channel chan<- prometheus.Metric

func (ch channel) gauge(name, help string, value float64, label ...string) {
	ch.send(name, help, prometheus.GaugeValue, value, label)
}

func (ch channel) counter(name, help string, value float64, label ...string) {
	ch.send(name, help, prometheus.CounterValue, value, label)
}

func (ch channel) send(name, help string, kind prometheus.ValueType, value float64, label []string) {
	names, values := label[:len(label)/2], label[len(label)/2:]
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

func number(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}
