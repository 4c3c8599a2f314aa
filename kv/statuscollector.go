package kv

import (
	"runtime"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/raft"
)

// statusCollector collects metrics from the node's status, the store and the server at each scrape.
type statusCollector struct {
	consensus       Consensus
	store           *mvcc.StoreRef
	connections     func() int64
	requests        func() int64
	streams         func() int64
	responseBytes   func() int64
	watchQueueBytes func() int64
	quotaBytes      int64
	memberID        uint64
	version         string
}

// metricChannel sends constant metrics to a scrape.
type metricChannel chan<- prometheus.Metric

func (ch metricChannel) gauge(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func (ch metricChannel) counter(d *prometheus.Desc, v float64, labels ...string) {
	ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, v, labels...)
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

var (
	descHasLeader         = desc("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.")
	descIsLeader          = desc("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.")
	descIsLearner         = desc("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.")
	descCommitted         = desc("etcd_server_proposals_committed_total", "The index of the last committed log entry.")
	descApplied           = desc("etcd_server_proposals_applied_total", "The index of the last applied log entry.")
	descQuota             = desc("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.")
	descID                = desc("etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", "server_id")
	descVersion           = desc("etcd_server_version", "Which version of etcd's API is served. 1 for 'server_version' label with current version.", "server_version")
	descCluster           = desc("etcd_cluster_version", "Which cluster version is served. 1 for 'cluster_version' label.", "cluster_version")
	descGoVersion         = desc("etcd_server_go_version", "Which Go version server is running with. 1 for 'server_go_version' label.", "server_go_version")
	descDBSize            = desc("etcd_mvcc_db_total_size_in_bytes", "Total size of the store on disk in bytes.")
	descDBInUse           = desc("etcd_mvcc_db_total_size_in_use_in_bytes", "Total size of live data in the store in bytes.")
	descKeys              = desc("etcd_debugging_mvcc_keys_total", "Total number of keys.")
	descRevision          = desc("etcd_debugging_mvcc_current_revision", "The current revision of store.")
	descCompacted         = desc("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.")
	descTroupeVersion     = desc("troupe_version", "1 for 'version' label with the version of Troupe.", "version")
	descTerm              = desc("troupe_raft_term", "The current Raft term.")
	descRole              = desc("troupe_raft_role", "1 for 'role' label with the current role.", "role")
	descLastIndex         = desc("troupe_log_last_index", "The last index of the log.")
	descFirstIndex        = desc("troupe_log_first_index", "The first index of the log.")
	descLogBytes          = desc("troupe_log_bytes", "The size of the log on disk in bytes.")
	descDiskLow           = desc("troupe_disk_low", "Whether the disk is below its low-water mark, so that writes are refused.")
	descRestarts          = desc("troupe_actor_restarts_total", "Restarts of actors by their supervisor since the process started.")
	descConnections       = desc("troupe_client_connections", "Open client connections.")
	descRequests          = desc("troupe_client_requests_in_flight", "Client requests that are being handled.")
	descStreams           = desc("troupe_client_streams", "Open streams of clients, mostly watches.")
	descResponseBytes     = desc("troupe_client_response_bytes", "Bytes reserved for range responses that are being read or sent.")
	descWatchQueueBytes   = desc("troupe_watch_queue_bytes", "Bytes of events that wait to be dispatched to watchers.")
	descMemTableBytes     = desc("troupe_engine_memtable_bytes", "Bytes in the storage engine's memtables.")
	descCacheBytes        = desc("troupe_engine_cache_bytes", "Bytes in the storage engine's block cache.")
	descL0Sublevels       = desc("troupe_engine_layers", "L0 sublevels of the storage engine; writes wait at 64.")
	descCompactionDebt    = desc("troupe_engine_compaction_debt_bytes", "Estimated bytes that the storage engine has to compact.")
	descSnapshots         = desc("troupe_engine_snapshots", "Open snapshots of the storage engine.")
	descPeerMatchIndex    = desc("troupe_peer_match_index", "At the leader: the last index known to be durable at a peer.", "peer")
	descPeerInFlightBytes = desc("troupe_peer_inflight_bytes", "At the leader: bytes sent to a peer and not acknowledged yet.", "peer")
)

// Describe sends nothing, which makes the collector unchecked: its metrics have constant names.
func (c *statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(metrics chan<- prometheus.Metric) {
	ch := metricChannel(metrics)
	node := c.consensus.Status()
	ch.gauge(descHasLeader, boolToFloat(node.LeaderID != 0))
	ch.gauge(descIsLeader, boolToFloat(node.LeaderID != 0 && node.LeaderID == node.ID))
	ch.gauge(descIsLearner, boolToFloat(node.IsLearner))
	ch.gauge(descCommitted, float64(node.CommitIndex))
	ch.gauge(descApplied, float64(node.AppliedIndex))
	ch.gauge(descQuota, float64(c.quotaBytes))
	ch.gauge(descID, 1, raft.FormatID(c.memberID))
	ch.gauge(descVersion, 1, APIVersion)
	ch.gauge(descCluster, 1, clusterVersion[:strings.LastIndexByte(clusterVersion, '.')])
	ch.gauge(descGoVersion, 1, runtime.Version())
	ch.gauge(descTroupeVersion, 1, c.version)
	ch.gauge(descTerm, float64(node.Term))
	ch.gauge(descRole, 1, node.Role)
	ch.gauge(descLastIndex, float64(node.LastIndex))
	ch.gauge(descFirstIndex, float64(node.FirstIndex))
	ch.gauge(descLogBytes, float64(node.LogBytes))
	ch.gauge(descDiskLow, boolToFloat(node.DiskLow))
	ch.gauge(descConnections, float64(c.connections()))
	ch.gauge(descRequests, float64(c.requests()))
	ch.gauge(descStreams, float64(c.streams()))
	ch.gauge(descResponseBytes, float64(c.responseBytes()))
	ch.gauge(descWatchQueueBytes, float64(c.watchQueueBytes()))
	ch.counter(descRestarts, float64(node.Restarts))
	for _, p := range node.Peers {
		id := raft.FormatID(p.ID)
		ch.gauge(descPeerMatchIndex, float64(p.Match), id)
		ch.gauge(descPeerInFlightBytes, float64(p.InFlightBytes), id)
	}
	store := c.store.IfOpen()
	if store == nil {
		return
	}
	total, inUse := store.Size()
	ch.gauge(descDBSize, float64(total))
	ch.gauge(descDBInUse, float64(inUse))
	engine := store.Engine()
	ch.gauge(descMemTableBytes, float64(engine.MemTableBytes))
	ch.gauge(descCacheBytes, float64(engine.CacheBytes))
	ch.gauge(descL0Sublevels, float64(engine.L0Sublevels))
	ch.gauge(descCompactionDebt, float64(engine.CompactionDebt))
	ch.gauge(descSnapshots, float64(engine.Snapshots))
	v := store.View()
	defer v.Release()
	ch.gauge(descKeys, float64(v.Keys()))
	ch.gauge(descRevision, float64(v.Revision()))
	ch.gauge(descCompacted, float64(v.CompactRevision()))
}

func boolToFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
