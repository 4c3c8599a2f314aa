package mvcc

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// CheckTxn refuses, with ErrDuplicateKey, a transaction that could write a key twice: two puts of one key, or a put of a
// key that a delete of the same transaction covers. The branches of one transaction exclude each other, so the same key
// in both is fine. It follows etcd, which lets a nested put be deleted by a later sibling.
func CheckTxn(r *pb.TxnRequest) error {
	if countWrites(r) < 2 {
		return nil
	}
	if _, err := branchWrites(r.GetSuccess()); err != nil {
		return err
	}
	_, err := branchWrites(r.GetFailure())
	return err
}

func countWrites(r *pb.TxnRequest) (n int) {
	for _, ops := range [][]*pb.RequestOp{r.GetSuccess(), r.GetFailure()} {
		for _, op := range ops {
			switch o := op.GetRequest().(type) {
			case *pb.RequestOp_RequestPut, *pb.RequestOp_RequestDeleteRange:
				n++
			case *pb.RequestOp_RequestTxn:
				n += countWrites(o.RequestTxn)
			}
		}
	}
	return n
}

// writes is what a list of operations may write.
type writes struct {
	puts map[string]struct{}
	dels []keyRange
}

func (w *writes) deletes(key string) bool {
	for _, d := range w.dels {
		if d.contains([]byte(key)) {
			return true
		}
	}
	return false
}

// branchWrites gathers what a branch may write, and refuses overlaps.
func branchWrites(ops []*pb.RequestOp) (*writes, error) {
	w := &writes{puts: make(map[string]struct{})}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.dels = append(w.dels, newKeyRange(d.Key, d.RangeEnd))
		}
	}
	for _, op := range ops {
		if nested := op.GetRequestTxn(); nested != nil {
			if err := w.nest(nested); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if _, twice := w.puts[string(p.Key)]; twice || w.deletes(string(p.Key)) {
				return nil, ErrDuplicateKey
			}
			w.puts[string(p.Key)] = struct{}{}
		}
	}
	return w, nil
}

// nest adds what a nested transaction may write.
func (w *writes) nest(r *pb.TxnRequest) error {
	then, err := branchWrites(r.GetSuccess())
	if err != nil {
		return err
	}
	otherwise, err := branchWrites(r.GetFailure())
	if err != nil {
		return err
	}
	for k := range then.puts {
		if _, twice := w.puts[k]; twice || w.deletes(k) {
			return ErrDuplicateKey
		}
	}
	for k := range otherwise.puts {
		if _, twice := w.puts[k]; twice || w.deletes(k) {
			return ErrDuplicateKey
		}
	}
	for k := range then.puts {
		w.puts[k] = struct{}{}
	}
	for k := range otherwise.puts {
		w.puts[k] = struct{}{}
	}
	w.dels = append(append(w.dels, then.dels...), otherwise.dels...)
	return nil
}
