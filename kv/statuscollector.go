package kv

import (
	"runtime"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

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
	quota           *quota
	memberID        uint64
	version         string
}

// metricChannel sends constant metrics to a scrape. label is the names of the labels, each followed
// by its value.
type metricChannel chan<- prometheus.Metric

func (ch metricChannel) gauge(name, help string, value float64, label ...string) {
	ch.send(name, help, prometheus.GaugeValue, value, label)
}

func (ch metricChannel) counter(name, help string, value float64, label ...string) {
	ch.send(name, help, prometheus.CounterValue, value, label)
}

func (ch metricChannel) send(name, help string, kind prometheus.ValueType, value float64, label []string) {
	var names, values []string
	for i := 0; i < len(label); i += 2 {
		names, values = append(names, label[i]), append(values, label[i+1])
	}
	ch <- prometheus.MustNewConstMetric(prometheus.NewDesc(name, help, names, nil), kind, value, values...)
}

// Describe sends nothing, which makes the collector unchecked: its metrics have constant names.
func (c *statusCollector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *statusCollector) Collect(metrics chan<- prometheus.Metric) {
	ch := metricChannel(metrics)
	node := c.consensus.Status()
	ch.gauge("etcd_server_has_leader", "Whether or not a leader exists. 1 is existence, 0 is not.", boolToFloat(node.LeaderID != 0))
	ch.gauge("etcd_server_is_leader", "Whether or not this member is a leader. 1 if is, 0 otherwise.", boolToFloat(node.LeaderID != 0 && node.LeaderID == node.ID))
	ch.gauge("etcd_server_is_learner", "Whether or not this member is a learner. 1 if is, 0 otherwise.", boolToFloat(node.IsLearner))
	ch.gauge("etcd_server_proposals_committed_total", "The index of the last committed log entry.", float64(node.CommitIndex))
	ch.gauge("etcd_server_proposals_applied_total", "The index of the last applied log entry.", float64(node.AppliedIndex))
	ch.gauge("etcd_server_quota_backend_bytes", "Current backend storage quota size in bytes.", float64(c.quota.limitBytes))
	raised := alarms(node, c.quota)
	for _, alarm := range []pb.AlarmType{pb.AlarmType_NOSPACE, pb.AlarmType_CORRUPT} {
		ch.gauge("etcd_debugging_server_alarms", "Alarms for every member in cluster: 1 for one that this member raises.",
			boolToFloat(slices.Contains(raised, alarm)), "server_id", raft.EtcdID(c.memberID), "alarm_type", alarm.String())
	}
	ch.gauge("etcd_server_id", "Server or member ID in hexadecimal format. 1 for 'server_id' label with current ID.", 1, "server_id", raft.EtcdID(c.memberID))
	ch.gauge("etcd_server_version", "Which version of etcd's API is served. 1 for 'server_version' label with current version.", 1, "server_version", APIVersion)
	ch.gauge("etcd_cluster_version", "Which cluster version is served. 1 for 'cluster_version' label.", 1, "cluster_version", clusterVersion[:strings.LastIndexByte(clusterVersion, '.')])
	ch.gauge("etcd_debugging_auth_revision", "The current revision of auth store.", initialAuthRevision)
	collectFiles(ch)
	ch.gauge("etcd_server_go_version", "Which Go version server is running with. 1 for 'server_go_version' label.", 1, "server_go_version", runtime.Version())
	ch.gauge("troupe_version", "1 for 'version' label with the version of Troupe.", 1, "version", c.version)
	ch.gauge("troupe_client_connections", "Open client connections.", float64(c.connections()))
	ch.gauge("troupe_client_requests_in_flight", "Client requests that are being handled.", float64(c.requests()))
	ch.gauge("troupe_client_streams", "Open streams of clients, mostly watches.", float64(c.streams()))
	ch.gauge("troupe_client_response_bytes", "Bytes reserved for range responses that are being read or sent.", float64(c.responseBytes()))
	ch.gauge("troupe_watch_queue_bytes", "Bytes of events that wait to be dispatched to watchers.", float64(c.watchQueueBytes()))
	store := c.store.IfOpen()
	if store == nil {
		return
	}
	total, inUse := store.Size()
	ch.gauge("etcd_mvcc_db_total_size_in_bytes", "The larger one of the bytes on disk and of the live data.", float64(total))
	ch.gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "Live data, before compression, in bytes: what the quota limits.", float64(inUse))
	ch.gauge("troupe_engine_disk_bytes", "Bytes of the storage engine on disk.", float64(store.DiskBytes()))
	engine := store.Engine()
	ch.gauge("troupe_engine_memtable_bytes", "Bytes in the storage engine's memtables.", float64(engine.MemTableBytes))
	ch.gauge("troupe_engine_cache_bytes", "Bytes in the storage engine's block cache.", float64(engine.CacheBytes))
	ch.gauge("troupe_engine_layers", "L0 sublevels of the storage engine; writes wait at 64.", float64(engine.L0Sublevels))
	ch.gauge("troupe_engine_compaction_debt_bytes", "Estimated bytes that the storage engine has to compact.", float64(engine.CompactionDebt))
	ch.gauge("troupe_engine_snapshots", "Open snapshots of the storage engine.", float64(engine.Snapshots))
	ch.gauge("etcd_mvcc_db_open_read_transactions", "The number of currently open read transactions.", float64(engine.Snapshots))
	v := store.View()
	defer v.Release()
	ch.gauge("etcd_debugging_mvcc_keys_total", "Total number of keys.", float64(v.Keys()))
	ch.gauge("etcd_debugging_mvcc_current_revision", "The current revision of store.", float64(v.Revision()))
	ch.gauge("etcd_debugging_mvcc_compact_revision", "The revision of the last compaction in store.", float64(v.CompactRevision()))
}

func boolToFloat(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
