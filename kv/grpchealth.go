package kv

import (
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
)

// grpcHealthService is the gRPC health service: SERVING while a leader is known, under the empty
// service name and under that of etcd's KV service, since load balancers check one or the other.
type grpcHealthService struct{ server *health.Server }

var healthServices = []string{"", "etcdserverpb.KV"}

func newGRPCHealthService() *grpcHealthService {
	h := &grpcHealthService{health.NewServer()}
	h.setServing(false)
	return h
}

func (h *grpcHealthService) setServing(serving bool) {
	status := healthpb.HealthCheckResponse_NOT_SERVING
	if serving {
		status = healthpb.HealthCheckResponse_SERVING
	}
	for _, name := range healthServices {
		h.server.SetServingStatus(name, status)
	}
}
