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
	rejoinWait *rejoinWait
}

func (s *watchService) Watch(stream pb.Watch_WatchServer) error {
	if err := s.rejoinWait.refuse(); err != nil {
		return err
	}
	return toStatus(s.hub.Serve(stream, s.leaderLoss.lostFor(stream.Context())))
}
