package mvcc

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/kv/mvcc/engine/disk"
	"github.com/troupe-raft/troupe/statemachine"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// The benchmarks run on a real disk with default options. They report the CPU of the whole process
// for each command (cpu-µs/op), including flushes and compactions in the background.

const benchValue = 256

func benchKey(i int) []byte { return fmt.Appendf(nil, "/registry/pods/default/%010d", i) }

type benchStore struct {
	*replica
	rnd   *rand.Rand
	value []byte
}

func openBenchStore(b *testing.B, dir string) *benchStore {
	s, err := openStore(dir, Options{Engine: disk.Opener(disk.Options{})})
	if err != nil {
		b.Fatal(err)
	}
	applied, _, err := s.Recover()
	if err != nil {
		b.Fatal(err)
	}
	return &benchStore{&replica{t: b, s: s, index: applied}, rand.New(rand.NewPCG(1, 2)), make([]byte, benchValue)}
}

// fill puts keys 0 … n-1 in random order.
func (b *benchStore) fill(n int) {
	order := b.rnd.Perm(n)
	for len(order) > 0 {
		size := min(256, len(order))
		b.applyPuts(order[:size])
		order = order[size:]
	}
}

func (b *benchStore) applyPuts(keys []int) {
	batch := &statemachine.Batch{Commands: make([]statemachine.Command, len(keys))}
	for i, k := range keys {
		b.index++
		for j := 0; j < len(b.value); j += 8 {
			binary.LittleEndian.PutUint64(b.value[j:], b.rnd.Uint64())
		}
		batch.Commands[i] = statemachine.Command{Index: b.index, Data: must(EncodePut(&pb.PutRequest{Key: benchKey(k), Value: b.value}))}
	}
	b.applyBatch(batch)
}

func (b *benchStore) applyBatch(batch *statemachine.Batch) {
	batch.Last = b.index
	if _, err := b.s.Apply(batch); err != nil {
		b.t.Fatalf("apply: %v", err)
	}
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// measureCPU reports the CPU of the process until the returned function is called, without the time
// to make the commands.
func measureCPU(b *testing.B) (stop func(ops int, less time.Duration)) {
	start := cpuTime()
	return func(ops int, less time.Duration) {
		b.ReportMetric(float64(cpuTime()-start-less)/1e3/float64(ops), "cpu-µs/put")
	}
}

func BenchmarkPut(b *testing.B) {
	for _, load := range []struct {
		name string
		keys int // 0: always new ones
	}{{"overwrite10k", 10_000}, {"overwrite1M", 1_000_000}, {"insert", 0}} {
		for _, size := range []int{1, 16, 256} {
			b.Run(fmt.Sprintf("%s/batch%d", load.name, size), func(b *testing.B) { benchPut(b, load.keys, size) })
		}
	}
}

func benchPut(b *testing.B, keySpace, size int) {
	e := openBenchStore(b, b.TempDir())
	defer e.close()
	if keySpace > 0 {
		e.fill(keySpace)
		mustSucceed(b, e.s.flush())
	}
	rounds := max(1, b.N/size)
	batches := make([]*statemachine.Batch, 0, 64)
	key := 0
	var making time.Duration
	writtenBefore := e.written()
	b.ReportAllocs()
	b.ResetTimer()
	stop := measureCPU(b)
	for done := 0; done < rounds; {
		b.StopTimer()
		at := cpuTime()
		batches = batches[:0]
		for len(batches) < 64 && done < rounds {
			batch := &statemachine.Batch{}
			for range size {
				e.index++
				if key = key + 1; keySpace > 0 {
					key = e.rnd.IntN(keySpace)
				}
				for j := 0; j < len(e.value); j += 8 {
					binary.LittleEndian.PutUint64(e.value[j:], e.rnd.Uint64())
				}
				batch.Commands = append(batch.Commands, statemachine.Command{
					Index: e.index, Data: must(EncodePut(&pb.PutRequest{Key: benchKey(key), Value: e.value})),
				})
			}
			batch.Last = e.index
			batches = append(batches, batch)
			done++
		}
		making += cpuTime() - at
		b.StartTimer()
		for _, batch := range batches {
			if _, err := e.s.Apply(batch); err != nil {
				b.Fatal(err)
			}
		}
	}
	mustSucceed(b, e.s.flush())
	b.StopTimer()
	stop(rounds*size, making)
	b.ReportMetric(float64(e.written()-writtenBefore)/float64(rounds*size), "written-B/put")
}

// written returns the bytes that flushes and compactions have written.
func (b *benchStore) written() int64 {
	return b.s.db.Metrics().WrittenBytes
}

func BenchmarkGet(b *testing.B) {
	e := openBenchStore(b, b.TempDir())
	defer e.close()
	e.fill(100_000)
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		v := e.s.View()
		r, err := v.Range(context.Background(), &pb.RangeRequest{Key: benchKey(e.rnd.IntN(100_000))})
		if err != nil || len(r.Kvs) != 1 {
			b.Fatal(r, err)
		}
		v.Release()
	}
}

func BenchmarkRangeLimit(b *testing.B) {
	for _, keys := range []int{100_000, 1_000_000} {
		e := openBenchStore(b, b.TempDir())
		e.fill(keys)
		prefix, end := []byte("/registry/"), []byte("/registry0")
		for _, q := range []struct {
			name string
			req  func() *pb.RangeRequest
		}{
			{"limit1", func() *pb.RangeRequest { return &pb.RangeRequest{Key: prefix, RangeEnd: end, Limit: 1} }},
			{"limit1-from-anywhere", func() *pb.RangeRequest {
				return &pb.RangeRequest{Key: benchKey(e.rnd.IntN(keys)), RangeEnd: end, Limit: 1}
			}},
			{"limit500", func() *pb.RangeRequest {
				return &pb.RangeRequest{Key: benchKey(e.rnd.IntN(keys)), RangeEnd: end, Limit: 500}
			}},
			{"limit500-1000-revisions-ago", func() *pb.RangeRequest {
				return &pb.RangeRequest{Key: benchKey(e.rnd.IntN(keys)), RangeEnd: end, Limit: 500, Revision: e.s.Revision() - 1000}
			}},
			{"count", func() *pb.RangeRequest {
				a, z := e.rnd.IntN(keys), e.rnd.IntN(keys)
				return &pb.RangeRequest{Key: benchKey(min(a, z)), RangeEnd: benchKey(max(a, z) + 1), CountOnly: true}
			}},
		} {
			b.Run(fmt.Sprintf("%s/keys%d", q.name, keys), func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					v := e.s.View()
					r, err := v.Range(context.Background(), q.req())
					if err != nil || r.Count == 0 {
						b.Fatal(r, err)
					}
					v.Release()
				}
			})
		}
		e.close()
	}
}

func residentMiB() float64 {
	var pages, resident int64
	f, err := os.ReadFile("/proc/self/statm")
	if err == nil {
		_, err = fmt.Sscan(string(f), &pages, &resident)
	}
	if err != nil {
		return 0
	}
	return float64(resident*int64(os.Getpagesize())) / (1 << 20)
}

func BenchmarkReopenMillion(b *testing.B) {
	dir := b.TempDir()
	e := openBenchStore(b, dir)
	e.fill(1_000_000)
	e.close()
	b.ResetTimer()
	for range b.N {
		e = openBenchStore(b, dir)
		v := e.s.View()
		if v.Keys() != 1_000_000 {
			b.Fatal(v.Keys())
		}
		v.Release()
		b.StopTimer()
		e.close()
		runtime.GC()
		b.StartTimer()
	}
	b.StopTimer()
	b.ReportMetric(residentMiB(), "resident-MiB")
}
