package kv

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The checks of requests before they are proposed or read. Codes, texts and the order of the checks
// are etcd's, since clients tell errors apart by them.

func checkRange(r *pb.RangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	if _, known := pb.RangeRequest_SortOrder_name[int32(r.GetSortOrder())]; !known {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	if _, known := pb.RangeRequest_SortTarget_name[int32(r.GetSortTarget())]; !known {
		return rpctypes.ErrGRPCInvalidSortOption
	}
	return nil
}

// checkRangeStream refuses what etcd does not serve in chunks.
func checkRangeStream(r *pb.RangeRequest) error {
	if err := checkRange(r); err != nil {
		return err
	}
	// As in etcd, a target without an order is accepted, though it sorts too.
	if r.SortOrder == pb.RangeRequest_DESCEND || r.SortOrder == pb.RangeRequest_ASCEND && r.SortTarget != pb.RangeRequest_KEY {
		return status.Error(codes.Unimplemented, "RangeStream does not support custom sort orders")
	}
	if r.MinModRevision != 0 || r.MaxModRevision != 0 || r.MinCreateRevision != 0 || r.MaxCreateRevision != 0 {
		return status.Error(codes.Unimplemented, "RangeStream does not support revision filters")
	}
	return nil
}

func checkPut(r *pb.PutRequest) error {
	switch {
	case len(r.GetKey()) == 0:
		return rpctypes.ErrGRPCEmptyKey
	case r.GetIgnoreValue() && len(r.GetValue()) != 0:
		return rpctypes.ErrGRPCValueProvided
	case r.GetIgnoreLease() && r.GetLease() != 0:
		return rpctypes.ErrGRPCLeaseProvided
	}
	return nil
}

func checkDeleteRange(r *pb.DeleteRangeRequest) error {
	if len(r.GetKey()) == 0 {
		return rpctypes.ErrGRPCEmptyKey
	}
	return nil
}

// checkTxn allows maxOps operations in each of compare, success and failure. A nested transaction
// may have as many as its parents leave.
func checkTxn(r *pb.TxnRequest, maxOps int) error {
	ops := max(len(r.GetCompare()), len(r.GetSuccess()), len(r.GetFailure()))
	if ops > maxOps {
		return rpctypes.ErrGRPCTooManyOps
	}
	for _, c := range r.GetCompare() {
		if len(c.GetKey()) == 0 {
			return rpctypes.ErrGRPCEmptyKey
		}
	}
	for _, branch := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range branch {
			if err := checkOp(op, maxOps-ops); err != nil {
				return err
			}
		}
	}
	return nil
}

func checkOp(op *pb.RequestOp, maxOps int) error {
	switch request := op.GetRequest().(type) {
	case *pb.RequestOp_RequestRange:
		return checkRange(request.RequestRange)
	case *pb.RequestOp_RequestPut:
		return checkPut(request.RequestPut)
	case *pb.RequestOp_RequestDeleteRange:
		return checkDeleteRange(request.RequestDeleteRange)
	case *pb.RequestOp_RequestTxn:
		return checkTxn(request.RequestTxn, maxOps)
	}
	return rpctypes.ErrGRPCKeyNotFound // an operation without a request, as in etcd
}

// txnHasPut reports whether a put is anywhere in the transaction, so that it may add data.
func txnHasPut(r *pb.TxnRequest) bool {
	for _, ops := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			if op.GetRequestPut() != nil || op.GetRequestTxn() != nil && txnHasPut(op.GetRequestTxn()) {
				return true
			}
		}
	}
	return false
}
