package mvcc

import (
	"bytes"
	"slices"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// CheckTxn returns ErrDuplicateKey for a transaction that could write a key twice: two puts of one
// key, or a put of a key that a delete of the same transaction covers. Only one branch of a
// transaction is executed, so both may write the same key. As in etcd, a later sibling may delete
// the key of a nested put.
func CheckTxn(r *pb.TxnRequest) error {
	if countWrites(r) < 2 {
		return nil
	}
	if _, err := collectWrites(r.GetSuccess(), 1); err != nil {
		return err
	}
	_, err := collectWrites(r.GetFailure(), 1)
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

// maxTxnDepth limits the nesting of transactions, to the depth that max-txn-ops allows by default.
// Each level costs a pass over everything below it, so without a limit a request of 1 MiB could
// occupy a core of every member for minutes.
const maxTxnDepth = 128

// branchWrites is what a list of operations may write.
type branchWrites struct {
	puts map[string]struct{}
	dels rangeSet
}

// rangeSet is a union of key ranges. The first lookup sorts and joins them, so that each lookup is
// a binary search.
type rangeSet struct {
	ranges []keyRange
	sorted bool
}

func (s *rangeSet) add(ranges ...keyRange) {
	s.ranges = append(s.ranges, ranges...)
	s.sorted = false
}

func (s *rangeSet) contains(key string) bool {
	if !s.sorted {
		s.sort()
	}
	// Only the last range that begins at or before the key can contain it.
	i, found := slices.BinarySearchFunc(s.ranges, key, func(r keyRange, key string) int {
		return strings.Compare(string(r.start), key)
	})
	if !found {
		i--
	}
	return i >= 0 && s.ranges[i].contains([]byte(key))
}

// sort sorts the ranges and joins those that overlap.
func (s *rangeSet) sort() {
	slices.SortFunc(s.ranges, func(a, b keyRange) int {
		if c := bytes.Compare(a.start, b.start); c != 0 {
			return c
		}
		return -a.compareEnd(b)
	})
	joined := s.ranges[:0]
	for _, r := range s.ranges {
		if r.empty() {
			continue
		}
		if n := len(joined); n > 0 && joined[n-1].contains(r.start) {
			if joined[n-1].compareEnd(r) < 0 {
				joined[n-1].end, joined[n-1].toEnd = r.end, r.toEnd
			}
			continue
		}
		joined = append(joined, r)
	}
	s.ranges, s.sorted = joined, true
}

// collectWrites returns what a branch may write, or ErrDuplicateKey.
func collectWrites(ops []*pb.RequestOp, depth int) (*branchWrites, error) {
	if depth > maxTxnDepth {
		return nil, ErrInvalidCommand
	}
	w := &branchWrites{puts: make(map[string]struct{})}
	for _, op := range ops {
		if d := op.GetRequestDeleteRange(); d != nil {
			w.dels.add(newKeyRange(d.Key, d.RangeEnd))
		}
	}
	for _, op := range ops {
		if nested := op.GetRequestTxn(); nested != nil {
			if err := w.addNested(nested, depth+1); err != nil {
				return nil, err
			}
		}
	}
	for _, op := range ops {
		if p := op.GetRequestPut(); p != nil {
			if err := w.put(string(p.Key)); err != nil {
				return nil, err
			}
		}
	}
	return w, nil
}

func (w *branchWrites) check(key string) error {
	if _, twice := w.puts[key]; twice || w.dels.contains(key) {
		return ErrDuplicateKey
	}
	return nil
}

func (w *branchWrites) put(key string) error {
	if err := w.check(key); err != nil {
		return err
	}
	w.puts[key] = struct{}{}
	return nil
}

// addNested adds what a nested transaction may write.
func (w *branchWrites) addNested(r *pb.TxnRequest, depth int) error {
	then, err := collectWrites(r.GetSuccess(), depth)
	if err != nil {
		return err
	}
	otherwise, err := collectWrites(r.GetFailure(), depth)
	if err != nil {
		return err
	}
	for _, branch := range []*branchWrites{then, otherwise} {
		for k := range branch.puts {
			if err := w.check(k); err != nil {
				return err
			}
		}
	}
	for _, branch := range []*branchWrites{then, otherwise} {
		for k := range branch.puts {
			w.puts[k] = struct{}{}
		}
		w.dels.add(branch.dels.ranges...)
	}
	return nil
}
