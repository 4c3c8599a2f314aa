package kv

import (
	"context"
	"errors"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// errorTable maps errors of the store and the node to etcd's. The first match counts.
//
// The codes decide what a client does: on Unavailable clientv3 retries a read at another member,
// and returns the error of a write to its caller, since the write may have taken effect. On
// DeadlineExceeded it retries writes too.
var errorTable = []struct{ err, status error }{
	{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{mvcc.ErrFutureRev, rpctypes.ErrGRPCFutureRev},
	{mvcc.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{mvcc.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{mvcc.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{mvcc.ErrInvalidCommand, status.Error(codes.InvalidArgument, mvcc.ErrInvalidCommand.Error())},
	{mvcc.ErrResultTooLarge, status.Error(codes.ResourceExhausted, mvcc.ErrResultTooLarge.Error())},
	{mvcc.ErrClosed, rpctypes.ErrGRPCUnhealthy},
	{mvcc.ErrCorrupt, rpctypes.ErrGRPCCorrupt},

	{context.Canceled, rpctypes.ErrGRPCCanceled}, // comes with ErrCanceled
	{troupe.ErrNotProposed, errNotProposed},      // likewise
	{troupe.ErrNoLeader, rpctypes.ErrGRPCTimeout},
	{troupe.ErrOverloaded, rpctypes.ErrGRPCRequestTooManyRequests},
	{troupe.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{troupe.ErrDiskFull, errDiskFull},
	{troupe.ErrOutcomeUnknown, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{troupe.ErrTimeout, rpctypes.ErrGRPCTimeout},
	{troupe.ErrStopped, rpctypes.ErrGRPCStopped},
	{troupe.ErrCorrupt, rpctypes.ErrGRPCCorrupt},

	{context.DeadlineExceeded, rpctypes.ErrGRPCTimeout},
}

// toStatus returns err as a gRPC status. An error that is one already is returned unchanged.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return err
	}
	for _, row := range errorTable {
		if errors.Is(err, row.err) {
			return row.status
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// errNotSupported is the error of calls that are not implemented.
func errNotSupported(what string) error {
	return status.Error(codes.Unimplemented, "troupe: "+what+" not supported by this version")
}
