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

// errorTable translates what the store and the node say into what an etcd client expects to hear. The first match wins.
//
// The codes decide what a client does: clientv3 tries reads again at another member on Unavailable, and hands writes back
// to its caller, since a write that was Unavailable may have taken effect.
var errorTable = []struct{ is, say error }{
	{mvcc.ErrCompacted, rpctypes.ErrGRPCCompacted},
	{mvcc.ErrFutureRev, rpctypes.ErrGRPCFutureRev},
	{mvcc.ErrKeyNotFound, rpctypes.ErrGRPCKeyNotFound},
	{mvcc.ErrLeaseNotFound, rpctypes.ErrGRPCLeaseNotFound},
	{mvcc.ErrDuplicateKey, rpctypes.ErrGRPCDuplicateKey},
	{mvcc.ErrInvalidCommand, status.Error(codes.InvalidArgument, mvcc.ErrInvalidCommand.Error())},
	{mvcc.ErrClosed, rpctypes.ErrGRPCUnhealthy},
	{mvcc.ErrCorrupt, rpctypes.ErrGRPCCorrupt},

	{troupe.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
	{troupe.ErrOverloaded, rpctypes.ErrGRPCRequestTooManyRequests},
	{troupe.ErrTooLarge, rpctypes.ErrGRPCRequestTooLarge},
	{troupe.ErrDiskFull, rpctypes.ErrGRPCNoSpace},
	{troupe.ErrOutcomeUnknown, rpctypes.ErrGRPCTimeoutDueToLeaderFail},
	{troupe.ErrTimeout, rpctypes.ErrGRPCTimeout},
	{troupe.ErrStopped, rpctypes.ErrGRPCStopped},
	{troupe.ErrCorrupt, rpctypes.ErrGRPCCorrupt},

	{context.Canceled, rpctypes.ErrGRPCCanceled},
	{context.DeadlineExceeded, rpctypes.ErrGRPCTimeout},
}

// toStatus is err as it goes over the wire. Errors that are on their way to the client already pass unchanged.
func toStatus(err error) error {
	if err == nil {
		return nil
	}
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return err
	}
	for _, row := range errorTable {
		if errors.Is(err, row.is) {
			return row.say
		}
	}
	return status.Error(codes.Unknown, err.Error())
}

// errNotSupported is the answer to calls that this version does not have.
func errNotSupported(what string) error {
	return status.Error(codes.Unimplemented, "troupe: "+what+" not supported by this version")
}
