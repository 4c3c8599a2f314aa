package kv

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// ReadModeKey is the gRPC metadata by which a client says what a range must promise: "log", "index", "lease", "leader" or
// "local". Without it a serializable range is "local" and any other "index", as in etcd.
const ReadModeKey = "troupe-read"

var readModes = map[string]troupe.ReadMode{
	"log": troupe.ReadLog, "index": troupe.ReadIndex, "lease": troupe.ReadLease,
	"leader": troupe.ReadLeader, "local": troupe.ReadLocal,
}

// kvService is etcd's KV service. Writes are proposed and answered from the result of this member's own Apply; reads wait
// until this member's store is recent enough and then look into it.
type kvService struct {
	pb.UnimplementedKVServer

	headers          *headers
	consensus        Consensus
	store            *StoreRef
	maxTxnOps        int
	maxRequestBytes  int
	requestTimeout   time.Duration
	streamChunkBytes int
	quota            *quota
	refused          map[string]prometheus.Counter // by limit
	budget           *responseBudget
	pendingResponses *pendingResponses
}

func (s *kvService) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	if err := checkRange(r); err != nil {
		return nil, err
	}
	mode, err := readMode(ctx, r.Serializable)
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.withTimeout(ctx)
	defer cancel()
	account := (*reservation)(nil)
	if len(r.RangeEnd) > 0 && !r.CountOnly {
		account = s.budget.newReservation()
		ctx = mvcc.WithReadBudget(ctx, account)
	}
	var response *pb.RangeResponse
	err = s.withView(ctx, mode, func(v *mvcc.View) error {
		response, err = v.Range(ctx, r)
		return err
	})
	if account != nil {
		s.pendingResponses.attach(ctx, response, account, err)
	}
	if err != nil {
		return nil, toStatus(err)
	}
	s.headers.fill(&response.Header)
	return response, nil
}

func (s *kvService) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	if err := checkRangeStream(r); err != nil {
		return err
	}
	mode, err := readMode(stream.Context(), r.Serializable)
	if err != nil {
		return err
	}
	// The wait for a recent enough store has the time of any request; the stream itself lasts as long as it takes. Once
	// something was sent a closed store cannot be made up for by asking again.
	ctx, cancel := s.withTimeout(stream.Context())
	defer cancel()
	if _, err := s.consensus.Read(ctx, mode); err != nil {
		return toStatus(err)
	}
	store, err := s.store.get(ctx)
	if err != nil {
		return toStatus(err)
	}
	v := store.View()
	defer v.Release()
	return toStatus(v.RangeChunks(stream.Context(), r, s.streamChunkBytes, func(chunk *pb.RangeResponse) error {
		if chunk.Header != nil {
			s.headers.fill(&chunk.Header)
		}
		return stream.Send(&pb.RangeStreamResponse{RangeResponse: chunk})
	}))
}

func (s *kvService) Put(ctx context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	if err := checkPut(r); err != nil {
		return nil, err
	}
	if s.quota.exceeded() {
		return nil, s.countRefusal(limitQuota, rpctypes.ErrGRPCNoSpace)
	}
	command, err := mvcc.EncodePut(r)
	if err != nil {
		return nil, toStatus(err)
	}
	result, err := s.propose(ctx, command)
	if err != nil {
		return nil, err
	}
	response, err := mvcc.DecodePut(result)
	if err != nil {
		return nil, toStatus(err)
	}
	s.headers.fill(&response.Header)
	return response, nil
}

func (s *kvService) DeleteRange(ctx context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	if err := checkDeleteRange(r); err != nil {
		return nil, err
	}
	command, err := mvcc.EncodeDeleteRange(r)
	if err != nil {
		return nil, toStatus(err)
	}
	result, err := s.propose(ctx, command)
	if err != nil {
		return nil, err
	}
	response, err := mvcc.DecodeDeleteRange(result)
	if err != nil {
		return nil, toStatus(err)
	}
	s.headers.fill(&response.Header)
	return response, nil
}

func (s *kvService) Txn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := checkTxn(r, s.maxTxnOps); err != nil {
		if errors.Is(err, rpctypes.ErrGRPCTooManyOps) {
			s.countRefusal(limitTxnOps, err)
		}
		return nil, err
	}
	// Overlaps are searched after the number of operations was found bounded.
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
	s.headers.fill(&response.Header)
	return response, nil
}

func (s *kvService) writeTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if s.quota.exceeded() && txnHasPut(r) {
		return nil, s.countRefusal(limitQuota, rpctypes.ErrGRPCNoSpace)
	}
	command, err := mvcc.EncodeTxn(r)
	if err != nil {
		return nil, toStatus(err)
	}
	result, err := s.propose(ctx, command)
	if err != nil {
		return nil, err
	}
	response, err := mvcc.DecodeTxn(result)
	return response, toStatus(err)
}

// readTxn answers a transaction that writes nothing without the log.
func (s *kvService) readTxn(ctx context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	mode, err := readMode(ctx, txnIsSerializable(r))
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.withTimeout(ctx)
	defer cancel()
	account := s.budget.newReservation()
	ctx = mvcc.WithReadBudget(ctx, account)
	var response *pb.TxnResponse
	err = s.withView(ctx, mode, func(v *mvcc.View) error {
		response, err = v.Txn(ctx, r)
		return err
	})
	s.pendingResponses.attach(ctx, response, account, err)
	return response, toStatus(err)
}

// txnIsSerializable: every operation of both branches is a range that may be served locally.
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
	command, err := mvcc.EncodeCompaction(r)
	if err != nil {
		return nil, toStatus(err)
	}
	result, err := s.propose(ctx, command)
	if err != nil {
		return nil, err
	}
	response, err := mvcc.DecodeCompaction(result)
	if err != nil {
		return nil, toStatus(err)
	}
	if r.Physical {
		store, err := s.store.get(ctx)
		if err == nil {
			err = store.WaitCompacted(ctx)
		}
		if err != nil {
			return nil, toStatus(err)
		}
	}
	s.headers.fill(&response.Header)
	return response, nil
}

// refuse counts a refusal.
func (s *kvService) countRefusal(limit string, err error) error {
	s.refused[limit].Inc()
	return err
}

// propose replicates a command and returns what this member's Apply made of it. The error is the client's.
func (s *kvService) propose(ctx context.Context, command []byte) ([]byte, error) {
	if len(command) > s.maxRequestBytes {
		return nil, s.countRefusal(limitRequestBytes, rpctypes.ErrGRPCRequestTooLarge)
	}
	ctx, cancel := s.withTimeout(ctx)
	defer cancel()
	result, err := s.consensus.Propose(ctx, command)
	if err != nil {
		return nil, toStatus(err)
	}
	return result.Value, nil
}

// view gives look the store's newest view once it holds what the mode promises. It starts over when the store was closed
// under it, since another one is about to be opened.
func (s *kvService) withView(ctx context.Context, mode troupe.ReadMode, look func(*mvcc.View) error) error {
	for {
		if _, err := s.consensus.Read(ctx, mode); err != nil {
			return err
		}
		store, err := s.store.get(ctx)
		if err != nil {
			return err
		}
		v := store.View()
		err = look(v)
		v.Release()
		if !errors.Is(err, mvcc.ErrClosed) || s.store.ifOpen() == store {
			return err
		}
	}
}

// withTimeout bounds a request whose client set no deadline: without a leader it would wait for ever.
func (s *kvService) withTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, has := ctx.Deadline(); has {
		return ctx, func() {}
	}
	return context.WithTimeout(ctx, s.requestTimeout)
}

// readMode is what the read must promise. The metadata of our own clients decides; etcd's clients say serializable or not.
func readMode(ctx context.Context, serializable bool) (troupe.ReadMode, error) {
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
