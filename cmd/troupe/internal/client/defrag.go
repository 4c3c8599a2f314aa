package client

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// DefragResult is what Defragment has done at a member.
type DefragResult struct {
	Member MemberStatus
	// BytesBefore and BytesAfter are the size of the store.
	BytesBefore, BytesAfter int64
	Err                     error
}

// Defragment frees on the disk of a member what compaction has removed.
func (c *Cluster) Defragment(ctx context.Context, m MemberStatus) DefragResult {
	r := DefragResult{Member: m, BytesBefore: m.Status.GetDbSize(), Err: m.Err}
	if r.Err == nil {
		r.BytesAfter, r.Err = c.defragment(ctx, m)
	}
	return r
}

func (c *Cluster) defragment(ctx context.Context, m MemberStatus) (bytesAfter int64, err error) {
	err = c.at(ctx, m, func(conn grpc.ClientConnInterface) error {
		maintenance := pb.NewMaintenanceClient(conn)
		if _, err := maintenance.Defragment(ctx, &pb.DefragmentRequest{}); err != nil {
			return err
		}
		after, err := maintenance.Status(ctx, &pb.StatusRequest{})
		bytesAfter = after.GetDbSize()
		return err
	})
	if status.Code(err) == codes.DeadlineExceeded {
		err = fmt.Errorf("%s was not done in time and has ended; --timeout allows more time", m.Endpoint)
	}
	return bytesAfter, err
}
