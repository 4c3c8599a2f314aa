package watch

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the metrics of a Hub. Names are etcd's where the meaning is the same.
type Metrics struct {
	streams, watchers, slowWatchers prometheus.Gauge
	events, fallbacks               prometheus.Counter
	refused                         prometheus.Counter // watchers above MaxWatchersPerStream
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
		streams:  gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
		watchers: gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
		slowWatchers: gauge("etcd_debugging_mvcc_slow_watcher_total",
			"Watchers that read history: those that start in the past, and those whose clients do not keep up."),
		events: counter("etcd_debugging_mvcc_events_total", "Total number of events sent to watchers by this member."),
		fallbacks: counter("troupe_watch_fallbacks_total",
			"Watchers that fell back to reading history, because their client or this member did not keep up."),
		refused: refused,
	}
}

// Collectors returns the metrics to register.
func (m *Metrics) Collectors() []prometheus.Collector {
	return []prometheus.Collector{m.streams, m.watchers, m.slowWatchers, m.events, m.fallbacks}
}
