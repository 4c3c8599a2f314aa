package kv

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/kv/watch"
)

// metrics are the counters that requests change. What the node and the store know is collected at
// each scrape (statusCollector, nodeCollector). Names are etcd's where the meaning is the same, so
// that etcd's dashboards work.
type metrics struct {
	healthSuccess, healthFailure prometheus.Counter   // of /health
	checkResult                  *prometheus.GaugeVec // of /livez and /readyz
	checks                       *prometheus.CounterVec
	rejectedConns                prometheus.Counter
	failedHandshakes             prometheus.Counter
	watch                        *watch.Metrics
	refused                      map[string]*refusalCounter // by limit; constant after newMetrics

	rpc                      *rpcMetrics
	kv                       *kvMetrics
	store                    *mvcc.Metrics
	receivedBytes, sentBytes prometheus.Counter // of gRPC messages, before compression
}

// newMetrics registers the metrics; extensive ones, as of etcd's --metrics=extensive, include the
// handling time of each method.
func newMetrics(r prometheus.Registerer, extensive bool) (*metrics, error) {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &metrics{
		healthSuccess: counter("etcd_server_health_success", "The total number of successful health checks."),
		healthFailure: counter("etcd_server_health_failures", "The total number of failed health checks."),
		checkResult: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "etcd_server_healthcheck", Help: "The result of each kind of healthcheck.",
		}, []string{"type", "name"}),
		checks: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "etcd_server_healthchecks_total", Help: "The total number of each kind of healthcheck.",
		}, []string{"type", "name", "status"}),
		rejectedConns:    counter("troupe_client_connections_rejected_total", "Client connections closed because there were too many."),
		failedHandshakes: counter("troupe_client_tls_handshakes_failed_total", "Client connections whose TLS handshake failed."),
		receivedBytes:    counter("etcd_network_client_grpc_received_bytes_total", "The total number of bytes received from grpc clients."),
		sentBytes:        counter("etcd_network_client_grpc_sent_bytes_total", "The total number of bytes sent to grpc clients."),
		rpc:              newRPCMetrics(extensive), kv: newKVMetrics(), store: mvcc.NewMetrics(),
		refused: map[string]*refusalCounter{},
	}
	refused := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "troupe_client_refused_total", Help: "Requests that the client port refused because a limit was reached.",
	}, []string{"limit"})
	for _, limit := range clientLimits {
		m.refused[limit] = &refusalCounter{Counter: refused.WithLabelValues(limit)}
	}
	m.watch = watch.NewMetrics(m.refused[limitWatchers])
	for _, c := range slices.Concat(
		[]prometheus.Collector{m.healthSuccess, m.healthFailure, m.checkResult, m.checks, m.rejectedConns, m.failedHandshakes, m.receivedBytes, m.sentBytes, refused},
		m.watch.Collectors(), m.rpc.collectors(), m.kv.collectors(), m.store.Collectors(),
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

// countCheck counts the result of one check of /livez or /readyz.
func (m *metrics) countCheck(kind, name string, healthy bool) {
	status := "error"
	if healthy {
		status = "success"
	}
	m.checkResult.WithLabelValues(kind, name).Set(boolToFloat(healthy))
	m.checks.WithLabelValues(kind, name, status).Inc()
}
