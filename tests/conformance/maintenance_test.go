package conformance

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/tests/procs"
)

// hashOf is a HashKV response without what depends on the storage format.
type hashOf struct {
	hash                      uint32
	compactRevision, revision int64
	err                       string
}

// hashScript writes, compacts and defragments, and returns the hashes on the way.
func hashScript(t *testing.T, conn *grpc.ClientConn) (hashes []hashOf) {
	ctx := contextWithin(t, time.Minute)
	maintenance := pb.NewMaintenanceClient(conn)
	call := func(request proto.Message) {
		_, err := invoke(ctx, conn, request)
		mustSucceed(t, err)
	}
	hash := func(revision int64) {
		r, err := maintenance.HashKV(ctx, &pb.HashKVRequest{Revision: revision})
		h := hashOf{r.GetHash(), r.GetCompactRevision(), r.GetHashRevision(), ""}
		if err != nil {
			h.err = err.Error()
		}
		hashes = append(hashes, h)
	}
	for i := 1; i <= 40; i++ {
		if i%10 == 0 {
			call(deleteKeys("key0", ""))
		} else {
			call(putKey("key0", fmt.Sprint(i)))
		}
	}
	const first, second = 11, 21 // tombstones
	for _, revision := range []int64{first, second} {
		hash(revision)
		call(&pb.CompactionRequest{Revision: revision, Physical: true})
		_, err := maintenance.Defragment(ctx, &pb.DefragmentRequest{})
		mustSucceed(t, err)
		for _, r := range []int64{0, first - 1, first, first + 1, second - 1, second, second + 1} {
			hash(r)
		}
	}
	return hashes
}

// As etcd's own TestVerifyHashKVAfterCompactAndDefrag. The hashes of two formats differ; which of
// them are equal, and everything else, must not.
func TestHashOfACompactedRevisionMatchesEtcd(t *testing.T) {
	want := hashScript(t, connect(t, startCluster(t, reference, 1).Members[0]))
	got := hashScript(t, connect(t, startCluster(t, program, 1).Members[0]))
	for i := range want {
		if got[i].compactRevision != want[i].compactRevision || got[i].revision != want[i].revision || got[i].err != want[i].err {
			t.Errorf("hash %d is %+v, etcd's is %+v", i, got[i], want[i])
		}
		for j := range i {
			if (got[i].hash == got[j].hash) != (want[i].hash == want[j].hash) {
				t.Errorf("hashes %d and %d are %+v and %+v, etcd's are %+v and %+v", j, i, got[j], got[i], want[j], want[i])
			}
		}
	}
}

// An operator's recipe against NOSPACE: delete, compact, defragment, disarm, put.
func TestRecipeAgainstNoSpaceWorksAsInEtcd(t *testing.T) {
	for _, p := range []procs.Program{reference, program} {
		t.Run(p.Name, func(t *testing.T) {
			conn := connect(t, startCluster(t, p, 1, "--quota-backend-bytes=16777216").Members[0])
			ctx := contextWithin(t, 2*time.Minute)
			maintenance := pb.NewMaintenanceClient(conn)
			accepted := fillUntilNoSpace(t, ctx, conn)
			// etcd counts what its backend has committed, every 100 ms: it accepts up to twice the quota.
			if accepted < 8 || accepted > 16 && p.Name != "etcd" {
				t.Errorf("%d MiB of values were accepted under 16 MiB", accepted)
			}
			deleted, err := invoke(ctx, conn, deleteKeys("k", "l"))
			mustSucceed(t, err)
			_, err = invoke(ctx, conn, &pb.CompactionRequest{Revision: headerOf(deleted).Revision, Physical: true})
			mustSucceed(t, err)
			_, err = maintenance.Defragment(ctx, &pb.DefragmentRequest{})
			mustSucceed(t, err)
			alarms, err := maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_GET})
			mustSucceed(t, err)
			for _, a := range alarms.Alarms {
				_, err = maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, MemberID: a.MemberID, Alarm: a.Alarm})
				mustSucceed(t, err)
			}
			if _, err = invoke(ctx, conn, putKey("after", "it")); err != nil {
				t.Errorf("a put after the recipe: %v", err)
			}
			// Files that are not used any more are removed in the background.
			for {
				status, err := maintenance.Status(ctx, &pb.StatusRequest{})
				if err == nil && len(status.Errors) == 0 && status.DbSizeInUse <= 1<<20 && status.DbSize <= 2<<20 {
					break
				}
				if ctx.Err() != nil {
					t.Fatalf("status after the recipe: %v, %v", status, err)
				}
			}
		})
	}
}

// fillUntilNoSpace puts values of 1 MiB until they are refused, and returns how many were not.
func fillUntilNoSpace(t *testing.T, ctx context.Context, conn *grpc.ClientConn) (accepted int) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var value strings.Builder
	for value.Len() < 1<<20 {
		value.WriteByte(byte(rnd.Uint32()))
	}
	for ; accepted < 64; accepted++ {
		_, err := invoke(ctx, conn, putKey(fmt.Sprintf("k%02d", accepted), value.String()))
		if rpctypes.Error(err) == rpctypes.ErrNoSpace {
			break
		}
		mustSucceed(t, err)
	}
	return accepted
}
