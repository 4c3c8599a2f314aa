package kv

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/kv/internal/header"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// ReadModeKey is the gRPC metadata key by which a client chooses the guarantee of a read: "log",
// "index", "lease", "leader" or "local". Without it a serializable range is "local" and any other
// "index", as in etcd.
const ReadModeKey = "troupe-read"

var readModes = map[string]troupe.ReadMode{
	"log": troupe.ReadLog, "index": troupe.ReadIndex, "lease": troupe.ReadLease,
	"leader": troupe.ReadLeader, "local": troupe.ReadLocal,
}

// kvService is etcd's KV service. A write is proposed, and its response is the result of this
// member's own Apply. A read waits until this member's store is recent enough and then reads it.
type kvService struct {
	pb.UnimplementedKVServer

	headers          *header.Maker
	consensus        Consensus
	store            *mvcc.StoreRef
	maxTxnOps        int
	maxRequestBytes  int
	schedule         *interleave.Scheduler
	requestTimeout   time.Duration
	streamChunkBytes int
	budget           *responseBudget
	quota            *quota
	diskFullInstead  func(error) error
	refused          map[string]*refusalCounter // by limit
	metrics          *kvMetrics
	rejoinWait       *rejoinWait
}

func (s *kvService) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	mode, err := s.readMode(ctx, r.Serializable)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var response *pb.RangeResponse
	err = s.withView(ctx, mode, func(v *mvcc.View) error {
		reading := time.Now()
		response, err = v.Range(ctx, r)
		s.metrics.rangeEnded(reading, err)
		return err
	})
	s.metrics.requestEnded(requestRange, began, err)
	if err != nil {
		return nil, toStatus(err)
	}
	s.headers.Fill(&response.Header)
	return response, nil
}

func (s *kvService) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	mode, err := s.readMode(stream.Context(), r.Serializable)
	if err != nil {
		return err
	}
	ctx, cancel := boundWait(stream.Context(), s.schedule, s.requestTimeout)
	defer cancel()
	point, err := s.consensus.Read(ctx, mode)
	if err != nil {
		s.metrics.readIndexFailed(mode, err)
		return toStatus(err)
	}
	reading, reserved := s.budget.reserve(stream.Context())
	defer reserved.release()
	send := func(chunk *pb.RangeResponse) error {
		if chunk.Header != nil {
			s.headers.Fill(&chunk.Header)
		}
		err := stream.Send(&pb.RangeStreamResponse{RangeResponse: chunk})
		if r.SortTarget == pb.RangeRequest_KEY {
			reserved.restart() // else the rest of the response is in memory too
		}
		return err
	}
	return toStatus(s.store.RangeChunks(reading, point.Index, s.requestTimeout, r, s.streamChunkBytes, send))
}

func (s *kvService) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if s.quota.exceeded() {
		return nil, s.countRefusal(limitQuota, rpctypes.ErrGRPCNoSpace)
	}
	response, err := write(ctx, s, requestPut, r, mvcc.EncodePut, mvcc.DecodePut)
	if err != nil {
		return nil, err
	}
	s.headers.Fill(&response.Header)
	return response, nil
}

func (s *kvService) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDeleteRange(r); err != nil {
		return nil, err
	}
	response, err := write(ctx, s, requestDeleteRange, r, mvcc.EncodeDeleteRange, mvcc.DecodeDeleteRange)
	if err != nil {
		return nil, err
	}
	s.headers.Fill(&response.Header)
	return response, nil
}

func (s *kvService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, s.maxTxnOps); err != nil {
		if errors.Is(err, rpctypes.ErrGRPCTooManyOps) {
			s.countRefusal(limitTxnOps, err)
		}
		return nil, err
	}
	// This comes second since its cost depends on the number of operations.
	if err := mvcc.CheckTxn(r); err != nil {
		return nil, toStatus(err)
	}
	var response *pb.TxnResponse
	var err error
	if mvcc.TxnIsReadOnly(r) {
		response, err = s.readTxn(ctx, r)
	} else {
		response, err = s.writeTxn(ctx, r)
	}
	if err != nil {
		return nil, err
	}
	s.headers.Fill(&response.Header)
	return response, nil
}

func (s *kvService) writeTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if s.quota.exceeded() && txnHasPut(r) {
		return nil, s.countRefusal(limitQuota, rpctypes.ErrGRPCNoSpace)
	}
	return write(ctx, s, requestTxn, r, mvcc.EncodeTxn, mvcc.DecodeTxn)
}

// readTxn serves a transaction that writes nothing, without the log.
func (s *kvService) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	mode, err := s.readMode(ctx, txnIsSerializable(r))
	if err != nil {
		return nil, err
	}
	began := time.Now()
	var response *pb.TxnResponse
	err = s.withView(ctx, mode, func(v *mvcc.View) error {
		response, err = v.Txn(ctx, r)
		return err
	})
	s.metrics.requestEnded(requestReadTxn, began, err)
	return response, toStatus(err)
}

// txnIsSerializable reports whether every operation of both branches is a serializable range.
func txnIsSerializable(r *pb.TxnRequest) bool {
	for _, branch := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if !op.GetRequestRange().GetSerializable() {
				return false
			}
		}
	}
	return true
}

func (s *kvService) Compact(ctx context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	response, err := write(ctx, s, requestCompaction, r, mvcc.EncodeCompaction, mvcc.DecodeCompaction)
	if err != nil {
		return nil, err
	}
	if r.Physical {
		bounded, cancel := boundWait(ctx, s.schedule, s.requestTimeout)
		defer cancel()
		store, err := s.store.Get(bounded)
		if err == nil {
			err = store.WaitCompacted(ctx)
		}
		if err != nil {
			return nil, toStatus(err)
		}
	}
	s.headers.Fill(&response.Header)
	return response, nil
}

// countRefusal counts a refusal and returns its error.
func (s *kvService) countRefusal(limit string, err error) error {
	s.refused[limit].Inc()
	return err
}

// write proposes a request as a command and returns the decoded result of this member's Apply. The
// error is a gRPC status.
func write[Request, Response any](
	ctx context.Context, s *kvService, kind requestKind, r Request,
	encode func(Request) ([]byte, error), decode func([]byte) (Response, error),
) (response Response, err error) {
	command, err := encode(r)
	if err != nil {
		return response, toStatus(err)
	}
	if len(command) > s.maxRequestBytes {
		return response, s.countRefusal(limitRequestBytes, rpctypes.ErrGRPCRequestTooLarge)
	}
	ctx, cancel := boundWait(ctx, s.schedule, s.requestTimeout)
	defer cancel()
	began := time.Now()
	result, err := s.consensus.Propose(ctx, command)
	s.metrics.requestEnded(kind, began, err)
	if err != nil {
		s.metrics.proposalsFailed.Inc()
		if full := s.diskFullInstead(err); full != nil {
			return response, full
		}
		return response, toStatus(err)
	}
	response, err = decode(result.Value)
	return response, toStatus(err)
}

// withView calls read with the store's newest view once that is as recent as the mode guarantees.
func (s *kvService) withView(ctx context.Context, mode troupe.ReadMode, read func(*mvcc.View) error) error {
	bounded, cancel := boundWait(ctx, s.schedule, s.requestTimeout)
	defer cancel()
	point, err := s.consensus.Read(bounded, mode)
	if err != nil {
		s.metrics.readIndexFailed(mode, err)
		return err
	}
	return s.store.Read(bounded, point.Index, read)
}

// readMode returns the mode of a read. The error is that of an unknown mode, or of a local read at
// a member that waits to rejoin.
func (s *kvService) readMode(ctx context.Context, serializable bool) (troupe.ReadMode, error) {
	mode, err := chosenReadMode(ctx, serializable)
	if err == nil && mode == troupe.ReadLocal {
		err = s.rejoinWait.refuse()
	}
	return mode, err
}

// chosenReadMode returns the mode that the client chose by ReadModeKey, or else by serializable.
func chosenReadMode(ctx context.Context, serializable bool) (troupe.ReadMode, error) {
	if named := metadata.ValueFromIncomingContext(ctx, ReadModeKey); len(named) > 0 {
		mode, known := readModes[named[0]]
		if !known {
			return 0, status.Errorf(codes.InvalidArgument,
				"troupe: unknown read mode %q in metadata %s; use log, index, lease, leader or local", named[0], ReadModeKey)
		}
		return mode, nil
	}
	if serializable {
		return troupe.ReadLocal, nil
	}
	return troupe.ReadIndex, nil
}
