package kv

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// maintenanceService is etcd's Maintenance service.
type maintenanceService struct {
	pb.UnimplementedMaintenanceServer

	headers   *header.Maker
	consensus Consensus
	store     *mvcc.StoreRef
	quota     *quota

	rejoinWait     *rejoinWait
	schedule       *interleave.Scheduler
	requestTimeout time.Duration
	version        string
}

// The headers of a response to Status, for what etcd's message has no field for.
const (
	// VersionHeader is the version of Troupe; the field version is that of etcd's API.
	VersionHeader = "troupe-version"
	// LogBytesHeader is the size of the log on disk in bytes, in decimal.
	LogBytesHeader = "troupe-log-bytes"
)

// openStore returns the store, which may be closed at the moment and opened again. It is an error
// if the store says nothing about the cluster's data.
func (s *maintenanceService) openStore(ctx context.Context) (*mvcc.Store, error) {
	if err := s.rejoinWait.refuse(); err != nil {
		return nil, err
	}
	ctx, cancel := boundWait(ctx, s.schedule, s.requestTimeout)
	defer cancel()
	store, err := s.store.Get(ctx)
	return store, toStatus(err)
}

func (s *maintenanceService) Status(ctx context.Context, _ *pb.StatusRequest) (*pb.StatusResponse, error) {
	node := s.consensus.Status()
	// The error would mean that the call is no gRPC call.
	_ = grpc.SetHeader(ctx, metadata.Pairs(VersionHeader, s.version, LogBytesHeader, strconv.FormatInt(node.LogBytes, 10)))
	response := &pb.StatusResponse{
		Header: s.headers.At(s.store.Revision()), Version: APIVersion, StorageVersion: storageVersion,
		Leader: node.LeaderID, RaftTerm: node.Term, RaftIndex: node.CommitIndex, RaftAppliedIndex: node.AppliedIndex,
		IsLearner: node.IsLearner, DbSizeQuota: s.quota.limitBytes, DowngradeInfo: &pb.DowngradeInfo{},
	}
	if store := s.store.IfOpen(); store != nil {
		response.DbSize, response.DbSizeInUse = store.Size()
	} else {
		response.Errors = append(response.Errors, "troupe: the store is being opened")
	}
	response.Errors = append(response.Errors, statusErrors(node, alarms(node, s.quota))...)
	return response, nil
}

// statusErrors returns what is wrong with a node, in etcd's texts where etcd has one.
func statusErrors(node troupe.Status, raised []pb.AlarmType) (all []string) {
	if node.LeaderID == 0 {
		all = append(all, rpctypes.ErrorDesc(rpctypes.ErrGRPCNoLeader))
	}
	for _, alarm := range raised {
		all = append(all, fmt.Sprintf("memberID:%d alarm:%s", node.ID, alarm))
	}
	all = append(all, rejoinErrors(node)...)
	if node.Err != nil {
		all = append(all, "troupe: "+node.Err.Error())
	}
	return all
}

func (s *maintenanceService) HashKV(ctx context.Context, r *pb.HashKVRequest) (*pb.HashKVResponse, error) {
	store, err := s.openStore(ctx)
	if err != nil {
		return nil, err
	}
	hash, err := store.HashKV(ctx, r.GetRevision())
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.HashKVResponse{
		Header: s.headers.At(store.Revision()),
		Hash:   hash.Hash, CompactRevision: hash.CompactRevision, HashRevision: hash.HashRevision,
	}, nil
}

func (s *maintenanceService) Hash(ctx context.Context, _ *pb.HashRequest) (*pb.HashResponse, error) {
	store, err := s.openStore(ctx)
	if err != nil {
		return nil, err
	}
	hash, revision, err := store.Hash(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.HashResponse{Header: s.headers.At(revision), Hash: hash}, nil
}

// alarms returns the alarms that a member raises: NOSPACE while its disk is low or its data above
// the quota, and CORRUPT once it has stopped because of damaged data. Status, Alarm and /health
// report the same ones.
func alarms(node troupe.Status, q *quota) (raised []pb.AlarmType) {
	if node.DiskLow || q.exceeded() {
		raised = append(raised, pb.AlarmType_NOSPACE)
	}
	if errors.Is(node.Err, troupe.ErrCorrupt) {
		raised = append(raised, pb.AlarmType_CORRUPT)
	}
	return raised
}

// Alarm lists the alarms. Each ends with its cause, so there is nothing to disarm, and disarming is
// no error.
func (s *maintenanceService) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	response := &pb.AlarmResponse{Header: s.headers.At(s.store.Revision())}
	switch r.GetAction() {
	case pb.AlarmRequest_GET:
		node := s.consensus.Status()
		for _, alarm := range alarms(node, s.quota) {
			if r.GetAlarm() == pb.AlarmType_NONE || r.GetAlarm() == alarm {
				response.Alarms = append(response.Alarms, &pb.AlarmMember{MemberID: node.ID, Alarm: alarm})
			}
		}
	case pb.AlarmRequest_ACTIVATE:
		return nil, errNotSupported("raising alarms by hand is")
	}
	return response, nil
}

// Defragment frees on the disk what compaction has removed. Unlike in etcd, reads and writes go on.
func (s *maintenanceService) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	store, err := s.store.Get(ctx)
	if err == nil {
		err = store.Defragment(ctx)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.DefragmentResponse{}, nil
}

func (s *maintenanceService) Snapshot(*pb.SnapshotRequest, pb.Maintenance_SnapshotServer) error {
	return errNotSupported("snapshots over the client port are")
}

func (s *maintenanceService) Downgrade(context.Context, *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return nil, errNotSupported("downgrades are")
}

func (s *maintenanceService) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	node := s.consensus.Status()
	if node.LeaderID != node.ID {
		return nil, rpctypes.ErrGRPCNotLeader
	}
	if !isVoter(node, r.GetTargetID()) {
		return nil, rpctypes.ErrGRPCBadLeaderTransferee
	}
	mover, ok := s.consensus.(leaderMover)
	if !ok {
		return nil, errNotSupported("moving the leadership is")
	}
	bounded, cancel := boundWait(ctx, s.schedule, s.requestTimeout)
	defer cancel()
	if err := mover.TransferLeadership(bounded, r.GetTargetID()); err != nil {
		if errors.Is(err, troupe.ErrTimeout) && ctx.Err() == nil {
			return nil, errTransferTimeout
		}
		if known := toStatus(err); status.Code(known) != codes.Unknown {
			return nil, known
		}
		return nil, status.Error(codes.Unavailable, "troupe: moving the leadership: "+err.Error())
	}
	return &pb.MoveLeaderResponse{Header: s.headers.At(s.store.Revision())}, nil
}

// errTransferTimeout is the error of a transfer that did not end within the request timeout. The
// text is etcd's, which waits as long as the client.
var errTransferTimeout = status.Error(codes.Unavailable, "etcdserver: request timed out, leader transfer took too long")

func isVoter(node troupe.Status, id uint64) bool {
	for _, m := range node.Members {
		if m.ID == id {
			return !m.IsLearner
		}
	}
	return false
}
