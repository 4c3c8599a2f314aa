package kv

import (
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// grpcHealth is the gRPC health service: SERVING while a leader is known. Both the empty service name and that of etcd's
// KV service are answered, since load balancers ask for one or the other.
type grpcHealth struct{ server *health.Server }

var healthServices = []string{"", "etcdserverpb.KV"}

func newGRPCHealth() *grpcHealth {
	h := &grpcHealth{health.NewServer()}
	h.set(false)
	return h
}

func (h *grpcHealth) set(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range healthServices {
		h.server.SetServingStatus(name, status)
	}
}
