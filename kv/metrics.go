package kv

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/kv/watch"
)

// metrics are the counters that requests change. What the node and the store know is collected at
// each scrape (statusCollector, nodeCollector). Names are etcd's where the meaning is the same, so
// that etcd's dashboards work.
type metrics struct {
	healthSuccess, healthFailure prometheus.Counter
	rejectedConns                prometheus.Counter
	failedHandshakes             prometheus.Counter
	watch                        *watch.Metrics
	refused                      map[string]prometheus.Counter // by limit; constant after newMetrics

	started, handled *prometheus.CounterVec
	methods          map[string]*methodMetrics // constant once the server serves
}

// methodMetrics are the counters of one method, so that a call needs no lookup by labels: that
// costs as much as parsing a small request.
type methodMetrics struct {
	started prometheus.Counter
	handled [codes.Unauthenticated + 1]prometheus.Counter
}

func newMetrics(r prometheus.Registerer) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	m := &metrics{
		healthSuccess:    counter("etcd_server_health_success", "The total number of successful health checks."),
		healthFailure:    counter("etcd_server_health_failures", "The total number of failed health checks."),
		rejectedConns:    counter("troupe_client_connections_rejected_total", "Client connections closed because there were too many."),
		failedHandshakes: counter("troupe_client_tls_handshakes_failed_total", "Client connections whose TLS handshake failed."),
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
	m.watch = watch.NewMetrics(m.refused[limitWatchers])
	for _, c := range append(m.watch.Collectors(),
		m.healthSuccess, m.healthFailure, m.rejectedConns, m.failedHandshakes, m.started, m.handled, refused,
	) {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *metrics) countHealthCheck(healthy bool) {
	if healthy {
		m.healthSuccess.Inc()
	} else {
		m.healthFailure.Inc()
	}
}

// registerMethods makes the counters of every method of the server.
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
