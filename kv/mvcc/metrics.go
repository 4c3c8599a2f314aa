package mvcc

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics are the measurements of a store under etcd's names. A StoreRef has at most one, for all
// stores that it refers to in turn; without one, a store measures nothing and reads no clock.
type Metrics struct {
	puts, deletes, ranges, txns prometheus.Counter
	putBytes                    prometheus.Gauge
	slowApplies                 prometheus.Counter
	apply                       *prometheus.HistogramVec
	applyByOp                   [KindMemberAttributes + 1][2]prometheus.Observer // by kind of command, and success
	commits                     prometheus.Histogram

	compactedRows                     prometheus.Counter
	lastCompaction                    prometheus.Gauge
	compactionSteps, compactionRounds prometheus.Histogram
}

// slowApplyDuration is how long a batch may take before its commands count as slow. It is etcd's
// default for a request.
const slowApplyDuration = 100 * time.Millisecond

// applyOps are etcd's names for the kinds of commands. A kind that has none counts as "Unknown".
var applyOps = map[byte]string{
	KindPut: "Put", KindDeleteRange: "DeleteRange", KindTxn: "Txn", KindCompact: "Compaction",
	KindMemberAttributes: "ClusterMemberAttrSet",
}

// NewMetrics returns metrics that are not registered.
func NewMetrics() *Metrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	histogram := func(name, help string, first float64, count int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(first, 2, count),
		})
	}
	m := &Metrics{
		puts:        counter("etcd_mvcc_put_total", "Total number of puts seen by this member."),
		deletes:     counter("etcd_mvcc_delete_total", "Total number of deletes seen by this member."),
		ranges:      counter("etcd_mvcc_range_total", "Total number of ranges seen by this member."),
		txns:        counter("etcd_mvcc_txn_total", "Total number of requests with several operations seen by this member."),
		putBytes:    gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "The total size of put keys and values seen by this member."),
		slowApplies: counter("etcd_server_slow_apply_total", "The total number of commands that were applied in a batch that took more than 100 ms."),
		apply: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_server_apply_duration_seconds", Help: "The latency distributions of applying one command.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20),
		}, []string{"version", "op", "success"}),
		commits: histogram("etcd_disk_backend_commit_duration_seconds",
			"The latency distributions of committing a batch of commands to the storage engine.", 0.001, 14),
		compactedRows:  counter("etcd_debugging_mvcc_db_compaction_keys_total", "Total number of revisions that compaction has removed."),
		lastCompaction: gauge("etcd_debugging_mvcc_db_compaction_last", "The unix time of the end of the last compaction. 0 if there was none."),
		compactionSteps: histogram("etcd_debugging_mvcc_db_compaction_pause_duration_milliseconds",
			"How long one step of a compaction has held up the application of commands.", 1, 13),
		compactionRounds: histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
			"The total duration of a compaction.", 100, 14),
	}
	for kind := range m.applyByOp {
		op := applyOps[byte(kind)]
		if op == "" {
			op = "Unknown"
		}
		for i, success := range []string{"false", "true"} {
			m.applyByOp[kind][i] = m.apply.WithLabelValues("v3", op, success)
		}
	}
	return m
}

// Collectors returns the metrics to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{
		m.puts, m.deletes, m.ranges, m.txns, m.putBytes, m.slowApplies, m.apply, m.commits,
		m.compactedRows, m.lastCompaction, m.compactionSteps, m.compactionRounds,
	}
}

// SetMetrics makes the present store, if any, and each one after it measure into m.
func (r *StoreRef) SetMetrics(m *Metrics) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.metrics = m
	if store := r.current.Load(); store != nil {
		store.metrics.Store(m)
	}
}

// metricsRef is a store's reference to its metrics; nil: none.
type metricsRef struct{ atomic.Pointer[Metrics] }

// countReads counts the ranges of a read.
func (r *metricsRef) countReads(ranges int) {
	m := r.Load()
	if m == nil {
		return
	}
	m.ranges.Add(float64(ranges))
	if ranges > 1 {
		m.txns.Inc()
	}
}

// opCounts counts operations of the commands of a batch.
type opCounts struct{ puts, putBytes, deletes, ranges, txns int }

func (c *opCounts) total() int { return c.puts + c.deletes + c.ranges }

// measureApply applies a command and measures that.
func (w *writer) measureApply(data []byte) ([]byte, error) {
	if w.metrics == nil {
		return w.applyCommand(data)
	}
	began, opsBefore := time.Now(), w.ops.total()
	result, err := w.applyCommand(data)
	kind, success := 0, 0
	if len(data) > 0 && int(data[0]) < len(w.metrics.applyByOp) {
		kind = int(data[0])
	}
	if err == nil && len(result) > 0 && result[0] == statusOK {
		success = 1
	}
	w.metrics.applyByOp[kind][success].Observe(time.Since(began).Seconds())
	if w.ops.total()-opsBefore > 1 {
		w.ops.txns++
	}
	return result, err
}

// measureBatch counts what the commands of a batch have done. It is called after the commit.
func (w *writer) measureBatch(commands int) {
	m := w.metrics
	if m == nil {
		return
	}
	if time.Since(w.began) > slowApplyDuration {
		m.slowApplies.Add(float64(commands))
	}
	for _, c := range [...]struct {
		counter interface{ Add(float64) }
		n       int
	}{{m.puts, w.ops.puts}, {m.putBytes, w.ops.putBytes}, {m.deletes, w.ops.deletes}, {m.ranges, w.ops.ranges}, {m.txns, w.ops.txns}} {
		if c.n > 0 {
			c.counter.Add(float64(c.n))
		}
	}
}

// compactionTimes measures the steps and the rounds of a compactor. All calls hold applyMu.
type compactionTimes struct {
	roundBegan, stepBegan time.Time // zero: not measured
	removedRows           int       // in this step
}

func (t *compactionTimes) beginStep(m *Metrics) {
	t.stepBegan, t.removedRows = time.Time{}, 0
	if m == nil {
		return
	}
	t.stepBegan = time.Now()
	if t.roundBegan.IsZero() {
		t.roundBegan = t.stepBegan
	}
}

// endStep measures a step, and the round if it was the last one.
func (t *compactionTimes) endStep(m *Metrics, last bool) {
	if m == nil || t.stepBegan.IsZero() {
		return
	}
	m.compactedRows.Add(float64(t.removedRows))
	m.compactionSteps.Observe(milliseconds(time.Since(t.stepBegan)))
	if last {
		m.compactionRounds.Observe(milliseconds(time.Since(t.roundBegan)))
		m.lastCompaction.SetToCurrentTime()
		t.roundBegan = time.Time{}
	}
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1000 }
