package kv

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// rpcMetrics are the metrics of gRPC calls, with the names and the meaning of go-grpc-middleware's,
// which etcd uses. Each call finds those of its method by one lookup: the middleware looks up each
// metric of each call by its labels, which takes as long as parsing a small request.
type rpcMetrics struct {
	started, handled, received, sent *prometheus.CounterVec
	handling                         *prometheus.HistogramVec // nil unless metrics are extensive
	streamFailures                   *prometheus.CounterVec
	durations                        map[string]prometheus.Histogram // by method: those that etcd measures apart
	defragmenting                    prometheus.Gauge

	methods map[string]*methodMetrics // constant once the server serves
	clients clientVersions
}

// methodMetrics are the metrics of one method.
type methodMetrics struct {
	started, received, sent prometheus.Counter
	handled                 [codes.Unauthenticated + 1]prometheus.Counter
	// The following may be nil.
	handling, duration         prometheus.Observer
	inProgress                 prometheus.Gauge
	receiveFailed, sendsFailed prometheus.Counter
}

// streamFailureAPIs are the streams whose failures etcd counts, with its names for them.
var streamFailureAPIs = map[string]string{
	pb.Watch_Watch_FullMethodName: "watch", pb.Lease_LeaseKeepAlive_FullMethodName: "lease-keepalive",
}

func newRPCMetrics(extensive bool) *rpcMetrics {
	labels := []string{"grpc_type", "grpc_service", "grpc_method"}
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	duration := func(name, help string, first float64, count int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(first, 2, count),
		})
	}
	m := &rpcMetrics{
		methods:  map[string]*methodMetrics{},
		started:  vec("grpc_server_started_total", "Total number of RPCs started on the server.", labels...),
		handled:  vec("grpc_server_handled_total", "Total number of RPCs completed on the server, regardless of success or failure.", append(labels, "grpc_code")...),
		received: vec("grpc_server_msg_received_total", "Total number of RPC stream messages received on the server.", labels...),
		sent:     vec("grpc_server_msg_sent_total", "Total number of gRPC stream messages sent by the server.", labels...),
		streamFailures: vec("etcd_network_server_stream_failures_total",
			"The total number of stream failures from the local server.", "Type", "API"),
		durations: map[string]prometheus.Histogram{
			pb.Maintenance_Hash_FullMethodName:       duration("etcd_mvcc_hash_duration_seconds", "The latency distribution of hashing the whole store.", .01, 15),
			pb.Maintenance_HashKV_FullMethodName:     duration("etcd_mvcc_hash_rev_duration_seconds", "The latency distribution of hashing the history up to a revision.", .01, 15),
			pb.Maintenance_Defragment_FullMethodName: duration("etcd_disk_backend_defrag_duration_seconds", "The latency distribution of defragmentations.", .1, 13),
		},
		defragmenting: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "etcd_disk_defrag_inflight", Help: "How many defragmentations are active on the member.",
		}),
	}
	m.clients.requests = vec("etcd_server_client_requests_total", "The total number of client requests per client version.", "type", "client_api_version")
	m.clients.known.Store(&map[string]*clientVersion{})
	if extensive {
		m.handling = prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "grpc_server_handling_seconds",
			Help:    "Histogram of response latency (seconds) of gRPC that had been application-level handled by the server.",
			Buckets: prometheus.DefBuckets,
		}, labels)
	}
	return m
}

func (m *rpcMetrics) collectors() []prometheus.Collector {
	all := []prometheus.Collector{m.started, m.handled, m.received, m.sent, m.streamFailures, m.defragmenting, m.clients.requests}
	if m.handling != nil {
		all = append(all, m.handling)
	}
	for _, d := range m.durations {
		all = append(all, d)
	}
	return all
}

// registerMethods makes the metrics of every method of the server.
func (m *rpcMetrics) registerMethods(services map[string]grpc.ServiceInfo) {
	for service, info := range services {
		for _, method := range info.Methods {
			m.registerMethod(service, method)
		}
	}
}

func (m *rpcMetrics) registerMethod(service string, method grpc.MethodInfo) {
	kind, name := "unary", "/"+service+"/"+method.Name
	switch {
	case method.IsClientStream && method.IsServerStream:
		kind = "bidi_stream"
	case method.IsServerStream:
		kind = "server_stream"
	}
	labels := []string{kind, service, method.Name}
	mm := &methodMetrics{
		started: m.started.WithLabelValues(labels...), received: m.received.WithLabelValues(labels...), sent: m.sent.WithLabelValues(labels...),
	}
	for code := range mm.handled {
		mm.handled[code] = m.handled.WithLabelValues(append(labels, codes.Code(code).String())...)
	}
	if m.handling != nil {
		mm.handling = m.handling.WithLabelValues(labels...)
	}
	if d, has := m.durations[name]; has {
		mm.duration = d
	}
	if name == pb.Maintenance_Defragment_FullMethodName {
		mm.inProgress = m.defragmenting
	}
	if api, has := streamFailureAPIs[name]; has {
		mm.receiveFailed, mm.sendsFailed = m.streamFailures.WithLabelValues("receive", api), m.streamFailures.WithLabelValues("send", api)
	}
	m.methods[name] = mm
}

// begin counts the start of a call. The time is zero if the call is not timed.
func (mm *methodMetrics) begin() (began time.Time) {
	if mm == nil {
		return began
	}
	mm.started.Inc()
	if mm.inProgress != nil {
		mm.inProgress.Inc()
	}
	if mm.handling != nil || mm.duration != nil {
		began = time.Now()
	}
	return began
}

// end counts the result of a call.
func (mm *methodMetrics) end(began time.Time, err error) {
	if mm == nil {
		return
	}
	code := codes.OK
	if err != nil {
		code = status.Code(err)
	}
	if int(code) < len(mm.handled) {
		mm.handled[code].Inc()
	}
	if mm.inProgress != nil {
		mm.inProgress.Dec()
	}
	if began.IsZero() {
		return
	}
	took := time.Since(began).Seconds()
	for _, observer := range [...]prometheus.Observer{mm.handling, mm.duration} {
		if observer != nil {
			observer.Observe(took)
		}
	}
}

// endUnary is end for a unary call, which has one message each way.
func (mm *methodMetrics) endUnary(began time.Time, err error) {
	if mm != nil {
		mm.received.Inc()
		mm.sent.Inc()
	}
	mm.end(began, err)
}

// countedStream counts the messages of a stream.
type countedStream struct {
	grpc.ServerStream
	*methodMetrics
}

func (s countedStream) RecvMsg(m any) error {
	err := s.ServerStream.RecvMsg(m)
	s.received.Inc()
	if err != nil && !errors.Is(err, io.EOF) && s.receiveFailed != nil && s.Context().Err() == nil {
		s.receiveFailed.Inc()
	}
	return err
}

func (s countedStream) SendMsg(m any) error {
	err := s.ServerStream.SendMsg(m)
	s.sent.Inc()
	if err != nil && s.sendsFailed != nil && s.Context().Err() == nil {
		s.sendsFailed.Inc()
	}
	return err
}

// clientVersions counts calls by the API version that the client states. A client may state any, so
// only the first maxClientVersions have counters of their own; the others count as "other".
type clientVersions struct {
	requests *prometheus.CounterVec

	mu    sync.Mutex                                // held to add a version
	known atomic.Pointer[map[string]*clientVersion] // never changed, but replaced
}

type clientVersion struct{ unary, stream prometheus.Counter }

const (
	maxClientVersions       = 32
	maxClientVersionBytes   = 32
	noVersion, otherVersion = "unknown", "other"
)

// count counts a call. It returns etcd's error if the version is not text.
func (c *clientVersions) count(ctx context.Context, stream bool) error {
	version := noVersion
	if stated := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataClientAPIVersionKey); len(stated) > 0 {
		version = stated[0]
	}
	v, known := (*c.known.Load())[version]
	if !known {
		if !utf8.ValidString(version) {
			return rpctypes.ErrGRPCInvalidClientAPIVersion
		}
		v = c.add(version)
	}
	if stream {
		v.stream.Inc()
	} else {
		v.unary.Inc()
	}
	return nil
}

// add returns the counters of a version, which it makes unless there are too many.
func (c *clientVersions) add(version string) *clientVersion {
	c.mu.Lock()
	defer c.mu.Unlock()
	known := *c.known.Load()
	if len(known) >= maxClientVersions || len(version) > maxClientVersionBytes {
		version = otherVersion
	}
	if v, has := known[version]; has {
		return v
	}
	v := &clientVersion{c.requests.WithLabelValues("unary", version), c.requests.WithLabelValues("stream", version)}
	next := map[string]*clientVersion{version: v}
	for name, counters := range known {
		next[name] = counters
	}
	c.known.Store(&next)
	return v
}
