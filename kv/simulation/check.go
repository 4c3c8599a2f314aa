package simulation

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/protobuf/proto"
)

// CheckConverged implements world.Application: every watch has received everything, every member
// has the model's state, and HashKV is equal everywhere.
func (a *application) CheckConverged() {
	w := a.world
	complete := func() bool {
		for _, s := range a.watches {
			if !s.complete() {
				return false
			}
		}
		return true
	}
	if !w.RunUntil("after convergence, a watch lacks events", complete) {
		return
	}
	everything := &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}
	for _, m := range a.members {
		if m.PermanentlyDown || m.Disk.Damaged {
			continue
		}
		left := 0
		ask := func(what string, linearizable bool, handle func(context.Context) (proto.Message, error), check func(*operation, proto.Message, error)) {
			left++
			m.call(what, "", linearizable, handle, func(o *operation, response proto.Message, err error) {
				if err != nil {
					o.fail("liveness", "after convergence: %v", err)
				}
				check(o, response, err)
			}, func() { left-- })
		}
		if m.schedule == nil {
			continue // it has found damage just now
		}
		ask("final range", true, func(ctx context.Context) (proto.Message, error) { return m.services.KV.Range(ctx, everything) }, checkRange(everything))
		ask("final hash", false, func(ctx context.Context) (proto.Message, error) {
			return m.services.Maintenance.HashKV(ctx, &pb.HashKVRequest{})
		}, checkHash)
		if !w.RunUntil("after convergence, a member does not answer", func() bool { return left == 0 }) {
			return
		}
	}
	if len(a.hashes) == 0 {
		w.Fail("equal state machines", "no member returned a hash")
	}
}
