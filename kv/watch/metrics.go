package watch

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the metrics of a Hub. Names are etcd's where the meaning is the same.
type Metrics struct {
	Streams, Watchers, SlowWatchers prometheus.Gauge
	Events, Fallbacks               prometheus.Counter
	Refused                         prometheus.Counter // watchers above MaxWatchersPerStream
}

// NewMetrics returns metrics that are not registered. refused counts refused watchers.
func NewMetrics(refused prometheus.Counter) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	return &Metrics{
		Streams:  gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
		Watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
		SlowWatchers: gauge("etcd_debugging_mvcc_slow_watcher_total",
			"Watchers that read history: those that start in the past, and those whose clients do not keep up."),
		Events: counter("etcd_debugging_mvcc_events_total", "Total number of events sent to watchers by this member."),
		Fallbacks: counter("troupe_watch_fallbacks_total",
			"Watchers that fell back to reading history, because their client or this member did not keep up."),
		Refused: refused,
	}
}

// Collectors returns the metrics to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.Streams, m.Watchers, m.SlowWatchers, m.Events, m.Fallbacks}
}
