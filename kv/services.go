package kv

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/watch"
)

// services are the handlers of one member, without the port.
type services struct {
	config      ServerConfig // with its defaults
	headers     *header.Maker
	kv          *kvService
	maintenance *maintenanceService
	watch       *watchService
	hub         *watch.Hub
	metrics     *metrics
	leaderLoss  *leaderLossDetector
	quota       *quota
	budget      responseBudget
}

func (s *services) init(config ServerConfig) error {
	if err := config.setDefaults(); err != nil {
		return err
	}
	m, err := newMetrics(config.Registry, config.ExtensiveMetrics)
	if err != nil {
		return fmt.Errorf("registering metrics: %w", err)
	}
	s.config, s.metrics, s.leaderLoss = config, m, newLeaderLossDetector()
	c := &s.config
	s.headers = &header.Maker{ClusterID: c.ClusterID, MemberID: c.MemberID, Term: c.Consensus.Term}
	s.quota = &quota{limitBytes: c.QuotaBytes, store: c.Store}
	s.budget = responseBudget{limitBytes: c.MaxResponseBytes, refused: m.refused[limitResponseBytes]}
	waits := &rejoinWait{consensus: c.Consensus}
	s.kv = &kvService{
		headers: s.headers, consensus: c.Consensus, store: c.Store, quota: s.quota, refused: m.refused,
		budget: &s.budget, maxTxnOps: c.MaxTxnOps, maxRequestBytes: c.MaxRequestBytes, streamChunkBytes: c.MaxRequestBytes,
		schedule: c.Schedule, requestTimeout: c.RequestTimeout, diskFullInstead: c.diskFullInstead,
		metrics: m.kv, rejoinWait: waits,
	}
	s.maintenance = &maintenanceService{
		headers: s.headers, consensus: c.Consensus, store: c.Store, quota: s.quota,
		schedule: c.Schedule, requestTimeout: c.RequestTimeout, version: c.Version, rejoinWait: waits,
	}
	s.hub = watch.NewHub(watch.Config{
		Store: c.Store, Consensus: c.Consensus, Header: s.headers, Metrics: m.watch, Schedule: c.Schedule,
		QueueBytes: c.WatchQueueBytes, RevisionBytes: c.WatchRevisionBytes, StreamBufferBytes: c.WatchStreamBufferBytes, TotalBufferBytes: c.WatchTotalBufferBytes,
		FragmentBytes: c.MaxRequestBytes + grpcOverheadBytes, MaxWatchersPerStream: c.MaxWatchersPerStream,
		ProgressInterval: c.WatchProgressInterval, RequestTimeout: c.RequestTimeout,
	})
	s.watch = &watchService{hub: s.hub, leaderLoss: s.leaderLoss, rejoinWait: waits}
	return nil
}

// Services are the handlers of a Server without its port, for the simulator.
type Services struct {
	KV          pb.KVServer
	Watch       pb.WatchServer
	Maintenance pb.MaintenanceServer
	// RunHub delivers events to watches; it does not return.
	RunHub func()
}

// NewServices returns the handlers of one member.
func NewServices(config ServerConfig) (*Services, error) {
	s := &services{}
	if err := s.init(config); err != nil {
		return nil, err
	}
	return &Services{
		KV: s.kv, Watch: s.watch, Maintenance: s.maintenance, RunHub: s.hub.Run,
	}, nil
}
