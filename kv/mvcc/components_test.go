package mvcc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func FuzzPutsParsedByHandAreWhatProtobufReads(f *testing.F) {
	for _, p := range []*pb.PutRequest{
		{Key: []byte("k"), Value: []byte("v")},
		{Key: []byte("k"), Lease: -1, PrevKv: true, IgnoreValue: true, IgnoreLease: true},
		{},
	} {
		f.Add(must(EncodePut(p))[1:])
	}
	// A repeated field, a bool of 2, an unknown field; then a group instead of bytes.
	f.Add([]byte{0x0a, 0x01, 'a', 0x0a, 0x01, 'b', 0x20, 0x02, 0x7a, 0x00})
	f.Add([]byte{0x0b, 0x0c, 0x0a, 0x01, 'a'})
	f.Fuzz(func(t *testing.T, b []byte) {
		want := &pb.PutRequest{}
		err := proto.Unmarshal(b, want)
		p, ok := parsePut(b)
		if ok != (err == nil && len(want.Key) > 0) {
			t.Fatalf("parsed: %v; protobuf: %v, key %q", ok, err, want.Key)
		}
		if !ok {
			return
		}
		got := &pb.PutRequest{
			Key: p.key, Value: p.value, Lease: p.lease, PrevKv: p.prevKV, IgnoreValue: p.ignoreValue, IgnoreLease: p.ignoreLease,
		}
		want.ProtoReflect().SetUnknown(nil)
		if !proto.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func FuzzRowsFromADiskNeverPanic(f *testing.F) {
	rec := record{metadata: metadata{rev: revision{9, 1}, create: 3, version: 4, lease: 7}, prev: revision{8, 2}, value: []byte("v")}
	f.Add(appendCurrent(nil, &rec))
	f.Add(appendEvent(nil, []byte("key"), &rec))
	f.Fuzz(func(t *testing.T, b []byte) {
		parseCurrent(b)
		parseEvent(revision{main: 5}, b)
		parseState(b)
		parseRevision(b)
		decodeAttributes(b)
		DecodeTxn(b)
	})
}

func TestRowsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		main := rapid.Int64Range(2, 1<<60).Draw(t, "main")
		rec := record{
			metadata: metadata{
				rev:     revision{main, rapid.Uint32().Draw(t, "sub")},
				create:  rapid.Int64Range(2, main).Draw(t, "create"),
				version: rapid.Int64Range(0, 1<<60).Draw(t, "version"),
				lease:   rapid.Int64().Draw(t, "lease"),
			},
			valueInHistory: rapid.Bool().Draw(t, "outline"),
		}
		if rapid.Bool().Draw(t, "has prev") {
			rec.prev = revision{rapid.Int64Range(1, main).Draw(t, "prev"), rapid.Uint32().Draw(t, "prev sub")}
		}
		if !rec.valueInHistory {
			rec.value = rapid.SliceOf(rapid.Byte()).Draw(t, "value")
		}
		same := func(a, b record) bool {
			x, y := a.value, b.value
			a.value, b.value = nil, nil
			return bytes.Equal(x, y) && fmt.Sprint(a) == fmt.Sprint(b)
		}
		if got, err := parseCurrent(appendCurrent(nil, &rec)); err != nil || !same(got, rec) {
			t.Fatalf("current row: got %+v, %v, want %+v", got, err, rec)
		}
		rec.valueInHistory = false
		key := rapid.SliceOf(rapid.Byte()).Draw(t, "key")
		gotKey, got, err := parseEvent(rec.rev, appendEvent(nil, key, &rec))
		if err != nil || !same(got, rec) || !bytes.Equal(gotKey, key) {
			t.Fatalf("event row: got %q %+v, %v, want %q %+v", gotKey, got, err, key, rec)
		}
	})
}

func TestCountTreeMatchesAListInEveryEdition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := []bucket{{}}
		for i := range rapid.IntRange(0, 2000).Draw(t, "loaded") {
			list = append(list, bucket{fmt.Sprintf("k%05d", i*10), int64(i % 7)})
		}
		tree := loadCountTree(slices.Clone(list))
		type edition struct {
			tree countTree
			list []bucket
		}
		var editions []edition
		at := func(key string) int {
			i, found := slices.BinarySearchFunc(list, key, func(b bucket, k string) int { return bytes.Compare([]byte(b.start), []byte(k)) })
			if !found {
				i--
			}
			return i
		}
		for range rapid.IntRange(0, 300).Draw(t, "changes") {
			key := fmt.Sprintf("k%05d", rapid.IntRange(0, 21000).Draw(t, "key"))
			i := at(key)
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0, 1:
				tree.add([]byte(key), 3)
				list[i].count += 3
			case 2:
				if list[i].start != key {
					n := list[i].count / 2
					tree.insert(bucket{key, n})
					list[i].count -= n
					list = slices.Insert(list, i+1, bucket{key, n})
				}
			case 3:
				if i > 0 {
					tree.remove(list[i].start)
					list[i-1].count += list[i].count
					list = slices.Delete(list, i, i+1)
				}
			default:
				editions = append(editions, edition{tree, slices.Clone(list)})
				tree.nextEdition()
			}
			if left, ok := tree.previous(list[at(key)].start); ok != (at(key) > 0) || (ok && left != list[at(key)-1]) {
				t.Fatalf("before %q: %v %v", list[at(key)].start, left, ok)
			}
		}
		editions = append(editions, edition{tree, list})
		for _, e := range editions {
			checkCountTree(t, e.tree, e.list)
		}
	})
}

func checkCountTree(t *rapid.T, tree countTree, list []bucket) {
	if got := tree.buckets(); !slices.Equal(got, list) {
		t.Fatalf("got %v\nwant %v", got, list)
	}
	before := int64(0)
	for i, b := range list {
		next := ""
		if i+1 < len(list) {
			next = list[i+1].start
		}
		if gb, gn, gnext := tree.find([]byte(b.start + "\x00")); gb != b || gn != before || gnext != next {
			t.Fatalf("find %q: %v, %d before, next %q; want %v, %d, %q", b.start, gb, gn, gnext, b, before, next)
		}
		before += b.count
	}
	if tree.total() != before {
		t.Fatalf("total %d, want %d", tree.total(), before)
	}
}

func TestMetadataCacheKeepsUncommittedEntries(t *testing.T) {
	c := newMetadataCache(1)
	key := func(i int) []byte { return fmt.Appendf(nil, "key%d", i) }
	rev := int64(1)
	for range 5 {
		begin := rev
		for i := range 20_000 { // five times its size
			rev++
			c.put(c.hash(key(i)), metadata{rev: revision{main: rev}, create: 2, version: rev})
		}
		for i := range 20_000 {
			want := begin + int64(i) + 1
			if m, ok := c.get(c.hash(key(i))); !ok || m.rev.main != want || m.version != want {
				t.Fatalf("key %d of the batch: %v %v, want revision %d", i, m, ok, want)
			}
		}
		c.committed(rev)
	}
	found := 0
	for i := range 20_000 {
		m, ok := c.get(c.hash(key(i)))
		if ok {
			found++
			if want := rev - 20_000 + int64(i) + 1; m.rev.main != want {
				t.Fatalf("key %d: revision %d, want %d", i, m.rev.main, want)
			}
		}
	}
	keysOfSet, want := make([]int, minSets), 0 // the seeds are random: a set may have few keys
	for i := range 20_000 {
		if set := &keysOfSet[c.hash(key(i))[0]&c.mask]; *set < entriesPerSet {
			*set++
			want++
		}
	}
	if found != want {
		t.Fatalf("%d entries in use, want %d", found, want)
	}
	c.remove(c.hash(key(19_999)))
	if m, ok := c.get(c.hash(key(19_999))); ok {
		t.Fatalf("removed, but found: %v", m)
	}
}

func TestMetadataCacheKeepsEntriesAsItGrows(t *testing.T) {
	c := newMetadataCache(minSets * entriesPerSet * metadataEntryBytes * 8)
	for i := range int64(100_000) {
		key := fmt.Appendf(nil, "key%d", i)
		c.put(c.hash(key), metadata{rev: revision{main: i + 1}, version: i + 1})
		c.committed(i + 1)
		if i == 10_000 {
			for j := range i + 1 {
				if m, ok := c.get(c.hash(fmt.Appendf(nil, "key%d", j))); ok && m.version != j+1 {
					t.Fatalf("key %d has version %d", j, m.version)
				}
			}
		}
	}
	if len(c.entries) != minSets*entriesPerSet*8 {
		t.Fatalf("%d entries", len(c.entries))
	}
}

func txnOf(ops ...*pb.RequestOp) *pb.TxnRequest { return &pb.TxnRequest{Success: ops} }

func opPut(key string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key)}}}
}

func opDelete(key, end string) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}}
}

func opTxn(then, otherwise []*pb.RequestOp) *pb.RequestOp {
	return &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: then, Failure: otherwise}}}
}

func TestTxnWritingAKeyTwiceIsRefused(t *testing.T) {
	type ops = []*pb.RequestOp
	for _, c := range []struct {
		what string
		txn  *pb.TxnRequest
		want error
	}{
		{"two keys", txnOf(opPut("a"), opPut("b")), nil},
		{"one key twice", txnOf(opPut("a"), opPut("a")), ErrDuplicateKey},
		{"in the other branch too", &pb.TxnRequest{Success: ops{opPut("a")}, Failure: ops{opPut("a")}}, nil},
		{"twice in the other branch", &pb.TxnRequest{Failure: ops{opPut("a"), opPut("a")}}, ErrDuplicateKey},
		{"put and delete", txnOf(opPut("a"), opDelete("a", "")), ErrDuplicateKey},
		{"put in a deleted range", txnOf(opDelete("a", "c"), opPut("b")), ErrDuplicateKey},
		{"put at the end of a deleted range", txnOf(opDelete("a", "c"), opPut("c")), nil},
		{"put in a deleted rest", txnOf(opDelete("a", "\x00"), opPut("z")), ErrDuplicateKey},
		{"deletes that overlap", txnOf(opDelete("a", "c"), opDelete("b", "d")), nil},
		{"nested branches that exclude each other", txnOf(opTxn(ops{opPut("a")}, ops{opPut("a")})), nil},
		{"nested and outer", txnOf(opTxn(ops{opPut("a")}, nil), opPut("a")), ErrDuplicateKey},
		{"nested siblings", txnOf(opTxn(ops{opPut("a")}, nil), opTxn(nil, ops{opPut("a")})), ErrDuplicateKey},
		{"nested put, outer delete", txnOf(opDelete("a", "b"), opTxn(nil, ops{opPut("a")})), ErrDuplicateKey},
		{"nested delete, outer put", txnOf(opTxn(ops{opDelete("a", "b")}, nil), opPut("a")), ErrDuplicateKey},
		{"nested put, deleted by a later sibling", txnOf(opTxn(ops{opPut("a")}, nil), opTxn(ops{opDelete("a", "")}, nil)), nil},
		{"nested delete, put by a later sibling", txnOf(opTxn(ops{opDelete("a", "")}, nil), opTxn(ops{opPut("a")}, nil)), ErrDuplicateKey},
	} {
		if err := CheckTxn(c.txn); err != c.want {
			t.Errorf("%s: %v, want %v", c.what, err, c.want)
		}
	}
}

func TestTxnIsReadOnly(t *testing.T) {
	read := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: &pb.RangeRequest{Key: []byte("a")}}}
	for _, c := range []struct {
		txn  *pb.TxnRequest
		want bool
	}{
		{&pb.TxnRequest{}, true},
		{txnOf(read, read), true},
		{&pb.TxnRequest{Success: []*pb.RequestOp{read}, Failure: []*pb.RequestOp{opPut("a")}}, false},
		{txnOf(opDelete("a", "")), false},
		{txnOf(opTxn([]*pb.RequestOp{read}, nil)), true},
		{txnOf(opTxn(nil, []*pb.RequestOp{opPut("a")})), false},
	} {
		if got := TxnIsReadOnly(c.txn); got != c.want {
			t.Errorf("%v: %v", c.txn, got)
		}
	}
}

func TestInvalidCommandsAreRefused(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), smallOptions)
	defer r.close()
	bad := [][]byte{
		nil, {0}, {99, 1, 2}, {KindPut}, {KindPut, 0xff}, {KindTxn, 0xff}, {KindDeleteRange}, {KindCompact, 0xff},
		{KindMemberAttributes, 0xff}, must(EncodeTxn(txnOf(opPut("")))), must(EncodeTxn(txnOf(opPut("a"), opPut("a")))),
		must(EncodeTxn(txnOf(&pb.RequestOp{Request: &pb.RequestOp_RequestRange{}}))),
		must(EncodeTxn(txnOf(&pb.RequestOp{Request: &pb.RequestOp_RequestTxn{}}, &pb.RequestOp{}, opPut("")))),
	}
	results := r.apply(bad...)
	if len(results) != len(bad) {
		t.Fatalf("%d results of %d commands", len(results), len(bad))
	}
	for i, result := range results {
		_, err := DecodeTxn(result)
		if !errors.Is(err, ErrInvalidCommand) && !errors.Is(err, ErrDuplicateKey) {
			t.Errorf("command %d, %v: %v", i, bad[i], err)
		}
	}
	if r.s.Revision() != 1 {
		t.Errorf("refused commands changed the revision to %d", r.s.Revision())
	}
}

func TestUnknownLeaseIsRefused(t *testing.T) {
	o := smallOptions
	o.LeaseKnown = func(id int64) bool { return id == 5 }
	r := openReplica(t, vfs.NewMem(), o)
	defer r.close()
	for lease, want := range map[int64]error{0: nil, 5: nil, 6: ErrLeaseNotFound} {
		p := &pb.PutRequest{Key: []byte("a"), Lease: lease}
		if _, err := DecodePut(r.apply(must(EncodePut(p)))[0]); err != want {
			t.Errorf("put with lease %d: %v", lease, err)
		}
		x := txnOf(&pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: p}}, opPut("b"))
		if _, err := DecodeTxn(r.apply(must(EncodeTxn(x)))[0]); err != want {
			t.Errorf("transaction with lease %d: %v", lease, err)
		}
	}
}

func TestPutWithoutPrevKVHasASmallResult(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), Options{})
	defer r.close()
	if result := r.apply(put("a", "1"))[0]; len(result) > 6 {
		t.Fatalf("%d bytes", len(result))
	}
}

func TestPrevKVIsTheStateBeforeTheTxn(t *testing.T) {
	r := openReplica(t, vfs.NewMem(), smallOptions)
	defer r.close()
	r.apply(put("a", "before"))
	var observed []*Event
	r.s.SetObserver(func(_ int64, events []*Event) { observed = append(observed, events...) })
	r.s.SetWantPrev(true)
	deletes := &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte("a"), PrevKv: true}}}
	x := txnOf(opTxn([]*pb.RequestOp{opPut("a")}, nil), opTxn([]*pb.RequestOp{deletes}, nil))
	resp, err := DecodeTxn(r.apply(must(EncodeTxn(x)))[0])
	mustSucceed(t, err)
	if prev := resp.Responses[1].GetResponseTxn().Responses[0].GetResponseDeleteRange().PrevKvs; len(prev) != 1 || len(prev[0].Value) != 0 {
		t.Errorf("the delete returned %v, not the state after the put before it", prev)
	}
	v := r.s.View()
	defer v.Release()
	history, _, err := v.Events(context.Background(), 3, 0, []byte("a"), nil, true, 1<<20, 0)
	mustSucceed(t, err)
	for what, events := range map[string][]*Event{"observed": observed, "in the history": history} {
		if len(events) != 2 || string(events[0].PrevKv.GetValue()) != "before" || string(events[1].PrevKv.GetValue()) != "before" {
			t.Errorf("%s: %v", what, events)
		}
	}
}

// buckets returns all buckets in order.
func (t countTree) buckets() (all []bucket) {
	var walk func(n *countNode)
	walk = func(n *countNode) {
		for i := range n.starts {
			if n.children == nil {
				all = append(all, bucket{n.starts[i], n.counts[i]})
			} else {
				walk(n.children[i])
			}
		}
	}
	walk(t.root)
	return all
}
