package kv

import (
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

func TestQuotaRefusesPutsAndAllowsDeletes(t *testing.T) {
	c := startServer(t) // without a quota the server does not check, so the test can
	kv := c.kv
	ctx := testContext(t)
	if _, err := kv.Put(ctx, &pb.PutRequest{Key: []byte("before"), Value: []byte("v")}); err != nil {
		t.Fatalf("without a quota: %v", err)
	}
	c.quota.limitBytes = 1
	c.quota.check()
	put := &pb.PutRequest{Key: []byte("k"), Value: []byte("v")}
	if _, err := kv.Put(ctx, put); rpctypes.Error(err) != rpctypes.ErrNoSpace {
		t.Errorf("a put: %v", err)
	}
	nested := &pb.TxnRequest{Failure: []*pb.RequestOp{{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{
		Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestPut{RequestPut: put}}},
	}}}}}
	if _, err := kv.Txn(ctx, nested); rpctypes.Error(err) != rpctypes.ErrNoSpace {
		t.Errorf("a put in a nested transaction: %v", err)
	}
	if _, err := kv.DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("before")}); err != nil {
		t.Errorf("a delete: %v", err)
	}
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
	c.quota.limitBytes = 1 << 40
	c.quota.check()
	if _, err := kv.Put(ctx, put); err != nil {
		t.Errorf("below the quota again: %v", err)
	}
}
