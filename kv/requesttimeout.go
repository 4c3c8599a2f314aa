package kv

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/internal/interleave"
)

// errNotProposed is the error of a write that waited for the request timeout and was certainly not
// proposed. Of writes, clientv3 repeats only those that end with this code, at the next endpoint;
// any other write that timed out may have taken effect. Code and text are what etcd returns while
// it has no leader.
var errNotProposed = status.Error(codes.DeadlineExceeded, context.DeadlineExceeded.Error())

// boundWait returns the context in which a request waits for the cluster or for the store. It ends
// after the request timeout at the latest, also if the client waits longer: a client with several
// endpoints tries the next one only when a member has answered. The read of the store itself is not
// bounded.
func boundWait(ctx context.Context, schedule *interleave.Scheduler, timeout time.Duration) (context.Context, context.CancelFunc) {
	if deadline, has := ctx.Deadline(); has && time.Until(deadline) <= timeout {
		return ctx, func() {}
	}
	return schedule.WithTimeout(ctx, timeout)
}
