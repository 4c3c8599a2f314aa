package kv

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/watch"
)

// watchService is etcd's Watch service.
type watchService struct {
	pb.UnimplementedWatchServer

	hub        *watch.Hub
	leaderLoss *leaderLossDetector
}

func (s *watchService) Watch(stream pb.Watch_WatchServer) error {
	return toStatus(s.hub.Serve(stream, s.leaderLoss.lostFor(stream.Context())))
}
