package kv

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// metrics are the counters that requests move. What can be read off the node and the store is collected at the scrape
// (statusCollector). Names are etcd's where the meaning is the same, so that its dashboards work.
type metrics struct {
	healthSuccess, healthFailure prometheus.Counter
	watchers, watchStreams       prometheus.Gauge
	slowWatchers                 prometheus.Gauge
	watchEvents                  prometheus.Counter
	watchFallbacks               prometheus.Counter
	rejectedConns                prometheus.Counter
	failedHandshakes             prometheus.Counter
	refused                      map[string]prometheus.Counter // by limit; not changed after newMetrics

	started, handled *prometheus.CounterVec
	methods          map[string]*methodMetrics // filled before serving, only read then
}

// methodMetrics are looked up once a method, not once a call: a labelled lookup costs as much as parsing a small request.
type methodMetrics struct {
	started prometheus.Counter
	handled [codes.Unauthenticated + 1]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	m := &metrics{
		healthSuccess:    counter("etcd_server_health_success", "The total number of successful health checks."),
		healthFailure:    counter("etcd_server_health_failures", "The total number of failed health checks."),
		watchers:         gauge("etcd_debugging_mvcc_watcher_total", "Total number of watchers."),
		watchStreams:     gauge("etcd_debugging_mvcc_watch_stream_total", "Total number of watch streams."),
		slowWatchers:     gauge("etcd_debugging_mvcc_slow_watcher_total", "Watchers that read history: new ones from the past, and those whose clients do not keep up."),
		watchEvents:      counter("etcd_debugging_mvcc_events_total", "Total number of events sent to watchers by this member."),
		watchFallbacks:   counter("troupe_watch_fallbacks_total", "Watchers that were sent back to reading history, since their client or the whole member did not keep up."),
		rejectedConns:    counter("troupe_client_connections_rejected_total", "Client connections closed because there were too many."),
		failedHandshakes: counter("troupe_client_tls_handshakes_failed_total", "Client connections that did not come through the TLS handshake."),
		started: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_started_total", Help: "Total number of RPCs started on the server.",
		}, labels),
		handled: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "grpc_server_handled_total", Help: "Total number of RPCs completed on the server, regardless of success or failure.",
		}, append(labels, "grpc_code")),
		methods: map[string]*methodMetrics{},
		refused: map[string]prometheus.Counter{},
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "troupe_client_refused_total", Help: "Requests that the client port refused because a limit was reached.",
	}, []string{"limit"})
	for _, limit := range clientLimits {
		m.refused[limit] = refused.WithLabelValues(limit)
	}
	for _, c := range []prometheus.Collector{
		m.healthSuccess, m.healthFailure, m.watchers, m.watchStreams, m.slowWatchers, m.watchEvents, m.watchFallbacks, m.rejectedConns, m.failedHandshakes,
		m.started, m.handled, refused,
	} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) countHealthCheck(well bool) {
	if well {
		m.healthSuccess.Inc()
	} else {
		m.healthFailure.Inc()
	}
}

// know makes the counters of every method that the server has.
func (m *metrics) registerMethods(services map[string]grpc.ServiceInfo) {
	for service, info := range services {
		for _, method := range info.Methods {
			kind := "unary"
			switch {
			case method.IsClientStream && method.IsServerStream:
				kind = "bidi_stream"
			case method.IsServerStream:
				kind = "server_stream"
			}
			mm := &methodMetrics{started: m.started.WithLabelValues(kind, service, method.Name)}
			for code := range mm.handled {
				mm.handled[code] = m.handled.WithLabelValues(kind, service, method.Name, codes.Code(code).String())
			}
			m.methods["/"+service+"/"+method.Name] = mm
		}
	}
}

func (mm *methodMetrics) countResult(err error) {
	code := codes.OK
	if err != nil {
		code = status.Code(err)
	}
	if int(code) < len(mm.handled) {
		mm.handled[code].Inc()
	}
}
