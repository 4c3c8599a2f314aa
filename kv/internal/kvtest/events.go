package kvtest

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// PutOp is a put in a transaction.
func PutOp(key, value string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{
		RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}}
}

// DeleteOp is a delete in a transaction.
func DeleteOp(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{
		RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

// DescribeEvent returns "put key=value@revision" or "del key@revision", with "<value" after it for
// the previous value.
func DescribeEvent(e *mvccpb.Event) string {
	s := fmt.Sprintf("put %s=%s@%d", e.Kv.Key, e.Kv.Value, e.Kv.ModRevision)
	if e.Type == mvccpb.Event_DELETE {
		s = fmt.Sprintf("del %s@%d", e.Kv.Key, e.Kv.ModRevision)
	}
	if e.PrevKv != nil {
		s += "<" + string(e.PrevKv.Value)
	}
	return s
}
