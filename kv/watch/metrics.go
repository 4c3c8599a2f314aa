package watch

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the metrics of a Hub. Names are etcd's where the meaning is the same.
type Metrics struct {
	streams, watchers, slowWatchers prometheus.Gauge
	events, fallbacks               prometheus.Counter
	refused                         prometheus.Counter // watchers above MaxWatchersPerStream

	sendEvents, sendEachEvent, sendControl, sendProgress prometheus.Histogram
}

// NewMetrics returns metrics that are not registered. refused counts refused watchers.
func NewMetrics(refused prometheus.Counter) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	histogram := func(name, help string) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		})
	}
	return &Metrics{
		sendEvents: histogram("etcd_debugging_server_watch_send_loop_watch_stream_duration_seconds", "The duration of sending the events that wait on one stream."),
		sendEachEvent: histogram("etcd_debugging_server_watch_send_loop_watch_stream_duration_per_event_seconds",
			"The duration of sending the events that wait on one stream, divided by their number."),
		sendControl:  histogram("etcd_debugging_server_watch_send_loop_control_stream_duration_seconds", "The duration of sending the other responses that wait on one stream."),
		sendProgress: histogram("etcd_debugging_server_watch_send_loop_progress_duration_seconds", "The duration of sending progress to the watchers of one stream that are due."),
		streams:      gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
		watchers:     gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
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
	return []prometheus.Collector{m.streams, m.watchers, m.slowWatchers, m.events, m.fallbacks,
		m.sendEvents, m.sendEachEvent, m.sendControl, m.sendProgress}
}
