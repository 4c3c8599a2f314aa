package kv

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/rs/zerolog"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func TestQuotaRefusesPutsAndAllowsDeletes(t *testing.T) {
	const quotaBytes = 64 << 10
	log := &logBuffer{}
	c := startServer(t, func(c *ServerConfig) { c.QuotaBytes, c.Logger = quotaBytes, zerolog.New(log) })
	kv := c.kv
	ctx := testContext(t)
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("before"), Value: make([]byte, quotaBytes)}); err != nil {
		t.Fatalf("below the quota: %v", err)
	}
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	if _, err := kv.Put(ctx, put); rpctypes.Error(err) != rpctypes.ErrNoSpace {
		t.Errorf("a put: %v", err)
	}
	eventually(t, "the log says that the alarm began", func() bool {
		return log.count("alarm raised", `"level":"warn"`, `"alarm":"NOSPACE"`, "quota", "live_bytes", `"quota_backend_bytes":65536`, "troupe compact") == 1
	})
	nested := &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	}}}}}
	if _, err := kv.Txn(ctx, nested); rpctypes.Error(err) != rpctypes.ErrNoSpace {
		t.Errorf("a put in a nested transaction: %v", err)
	}
	deleted, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("before")})
	mustSucceed(t, err)
	if _, err := kv.Range(ctx, &pb.RangeRequest{Key: []byte("before")}); err != nil {
		t.Errorf("a range: %v", err)
	}
	alarms, err := pb.NewMaintenanceClient(c.conn).Alarm(ctx, &pb.AlarmRequest{})
	if err != nil || len(alarms.Alarms) != 1 || alarms.Alarms[0].Alarm != pb.AlarmType_NOSPACE {
		t.Errorf("alarms: %v, %v", alarms, err)
	}
	status, err := pb.NewMaintenanceClient(c.conn).Status(ctx, &pb.StatusRequest{})
	if err != nil || len(status.Errors) != 1 || !strings.HasSuffix(status.Errors[0], "alarm:NOSPACE") {
		t.Errorf("status: %v, %v", status, err)
	}
	if why := c.unhealthyReason(ctx, false, nil); !strings.Contains(why, "NOSPACE") {
		t.Errorf("health: %q", why)
	}
	_, err = kv.Compact(ctx, &pb.CompactionRequest{Revision: deleted.Header.Revision, Physical: true})
	mustSucceed(t, err)
	if _, err := kv.Put(ctx, put); err != nil {
		t.Errorf("below the quota again: %v", err)
	}
	eventually(t, "the log says that the alarm ended", func() bool { return log.count("alarm ended", `"alarm":"NOSPACE"`, `"level":"info"`) == 1 })
	if n := log.count("alarm raised"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// An etcd operator's recipe: delete, compact, defragment, disarm, put. The quota is that of the
// data before compression, so values that compress well fill it as others do.
func TestRecipeAgainstNoSpaceHelpsAtOnce(t *testing.T) {
	random := make([]byte, 32<<10)
	for i, rnd := 0, rand.New(rand.NewPCG(1, 2)); i < len(random); i++ {
		random[i] = byte(rnd.Uint32())
	}
	for name, value := range map[string][]byte{"incompressible": random, "compressible": bytes.Repeat([]byte("x"), len(random))} {
		t.Run(name, func(t *testing.T) {
			const quotaBytes = 4 << 20
			ts := startServer(t, func(c *ServerConfig) { c.QuotaBytes = quotaBytes })
			ctx := testContext(t)
			for range 3 {
				ts.fillQuota(t, value, quotaBytes)
				deleted := ts.delete(t, "k", "l")
				maintenance := pb.NewMaintenanceClient(ts.conn)
				_, err := ts.kv.Compact(ctx, &pb.CompactionRequest{Revision: deleted})
				mustSucceed(t, err)
				_, err = maintenance.Defragment(ctx, &pb.DefragmentRequest{})
				mustSucceed(t, err)
				_, err = maintenance.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_DEACTIVATE, Alarm: pb.AlarmType_NOSPACE})
				mustSucceed(t, err)
				ts.put(t, "after", "the recipe")
				eventually(t, "the sizes are small", func() bool {
					status, err := maintenance.Status(ctx, &pb.StatusRequest{})
					return err == nil && len(status.Errors) == 0 && status.DbSizeInUse < 64<<10 && status.DbSize < 512<<10
				})
			}
		})
	}
}

// fillQuota puts values until they are refused.
func (ts *testServer) fillQuota(t *testing.T, value []byte, quotaBytes int) {
	t.Helper()
	accepted := 0
	for i := 0; ; i++ {
		_, err := ts.kv.Put(testContext(t), &pb.PutRequest{Key: fmt.Appendf(nil, "k%04d", i), Value: value})
		if rpctypes.Error(err) == rpctypes.ErrNoSpace {
			break
		}
		mustSucceed(t, err)
		if accepted += len(value); accepted > 2*quotaBytes {
			break
		}
	}
	if accepted < quotaBytes-2*len(value) || accepted > quotaBytes {
		t.Fatalf("%d bytes of values were accepted under a quota of %d", accepted, quotaBytes)
	}
}
