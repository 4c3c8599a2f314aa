package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	loadPrefix  = "load/"
	loadKeys    = 12
	loadClients = 6
	// loadPause and loadErrorPause are the pauses of a client between two operations. The one after an
	// error is longer, so that a cluster without a leader causes few operations of unknown outcome.
	loadPause      = 4 * time.Millisecond
	loadErrorPause = 40 * time.Millisecond
	loadDeadline   = 3 * time.Second // of an operation
	// balancedLoadDeadline is long, so that no operation fails because the machine stalls.
	balancedLoadDeadline = time.Minute
)

// load is a set of clients that put, get and compare-and-set, in every way that the API has. Each
// uses one member until a request fails.
type load struct {
	began        time.Time
	deadline     time.Duration // of an operation
	stop         context.CancelFunc
	done         sync.WaitGroup
	acknowledged atomic.Int64  // writes
	progress     chan struct{} // receives after an acknowledged write
	reads        []readWay
	oldReads     []readWay
	puts         []writeWay
	deletes      []deleteWay

	mu         sync.Mutex
	operations []operation
}

func startLoad(t *testing.T, c *procs.Cluster) *load {
	return startLoadBy(t, loadDeadline, func(id int) []*clientv3.Client {
		clients := make([]*clientv3.Client, len(c.Members))
		for i := range clients {
			clients[i] = dial(t, c.Members[(id+i)%len(c.Members)].Endpoint())
		}
		return clients
	})
}

// startBalancedLoad starts a load of clients with all endpoints, which they use in turn.
func startBalancedLoad(t *testing.T, c *procs.Cluster) *load {
	return startLoadBy(t, balancedLoadDeadline, func(int) []*clientv3.Client { return []*clientv3.Client{dial(t, c.Endpoints()...)} })
}

func startLoadBy(t *testing.T, deadline time.Duration, clientsOf func(id int) []*clientv3.Client) *load {
	ctx, cancel := context.WithCancel(t.Context())
	l := &load{
		began: time.Now(), deadline: deadline, stop: cancel, progress: make(chan struct{}, 1),
		reads: linearizableReads(), oldReads: oldReads(), puts: putWays(), deletes: deleteWays(),
	}
	for id := range loadClients {
		clients := clientsOf(id)
		l.done.Go(func() { l.client(ctx, id, clients) })
	}
	t.Cleanup(func() { l.stop() })
	return l
}

// finish stops the clients and returns their operations.
func (l *load) finish() []operation {
	l.stop()
	l.done.Wait()
	return l.operations
}

func (l *load) client(ctx context.Context, id int, clients []*clientv3.Client) {
	random := rand.New(rand.NewPCG(uint64(id), 1))
	lastSeen := make(map[string]string) // by key, to compare with
	current := 0                        // index of the client in use
	mayDelete := true
	pause := time.NewTimer(0)
	defer pause.Stop()
	for n := 0; ; n++ {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		o := l.choose(id, n, random, mayDelete, lastSeen)
		key := o.key
		o.call = time.Since(l.began)
		l.execute(&o, clients[current])
		o.end = time.Since(l.began)
		l.record(o)
		if o.unknown {
			mayDelete = mayDelete && o.kind != del
			current = (current + 1) % len(clients)
			pause.Reset(loadErrorPause)
			continue
		}
		if o.kind != oldGet {
			lastSeen[key] = o.seen
		}
		if o.writes() {
			lastSeen[key] = o.value // of a delete: none
		}
		pause.Reset(loadPause)
	}
}

// choose returns the next operation of a client. Each client has a key that it alone deletes.
func (l *load) choose(id, n int, random *rand.Rand, mayDelete bool, lastSeen map[string]string) operation {
	o := operation{
		client: id, key: fmt.Sprintf("%s%02d", loadPrefix, random.IntN(loadKeys)), value: fmt.Sprintf("%d-%d", id, n),
		kind: []kind{put, put, get, get, get, cas, cas, oldGet}[random.IntN(8)],
	}
	if random.IntN(5) == 0 {
		o.key = fmt.Sprintf("%sof-client-%d", loadPrefix, id)
		if o.kind == cas && mayDelete {
			o.kind, o.value = del, ""
		}
	}
	o.expected = lastSeen[o.key]
	if o.expected == "" && o.kind == cas {
		o.kind = get
	}
	switch o.kind {
	case put:
		o.way = random.IntN(len(l.puts))
	case get:
		o.way = random.IntN(len(l.reads))
	case oldGet:
		o.way = random.IntN(len(l.oldReads))
	case del:
		o.way = random.IntN(len(l.deletes))
	}
	return o
}

// execute sends the operation and records the response. Its context is not that of the load, so
// that the end of the load causes no unknown outcome.
func (l *load) execute(o *operation, client *clientv3.Client) {
	ctx, cancel := context.WithTimeout(context.Background(), l.deadline)
	defer cancel()
	switch o.kind {
	case put:
		revision, err := l.puts[o.way].write(ctx, client, o.key, o.value)
		if o.recordError(err) {
			return
		}
		o.revision = revision
	case get, oldGet:
		ways := l.reads
		if o.kind == oldGet {
			ways = l.oldReads
		}
		response, err := ways[o.way].read(ctx, client, o.key)
		if o.recordError(err) {
			return
		}
		o.recordRead(response)
	case del:
		response, err := l.deletes[o.way].delete(ctx, client, o.key)
		if o.recordError(err) {
			return
		}
		if o.succeeded = response.Deleted == 1; o.succeeded {
			o.seen, o.before, o.revision = string(response.PrevKvs[0].Value), response.PrevKvs[0].ModRevision, response.Header.Revision
		}
	case cas:
		response, err := client.Txn(ctx).If(clientv3.Compare(clientv3.Value(o.key), "=", o.expected)).
			Then(clientv3.OpPut(o.key, o.value)).Else(clientv3.OpGet(o.key)).Commit()
		if o.recordError(err) {
			return
		}
		if o.succeeded = response.Succeeded; o.succeeded {
			o.revision = response.Header.Revision
			return
		}
		o.recordRead((*clientv3.GetResponse)(response.Responses[0].GetResponseRange()))
	}
}

func (o *operation) recordError(err error) bool {
	o.unknown, o.err = err != nil, err
	return o.unknown
}

func (o *operation) recordRead(response *clientv3.GetResponse) {
	if len(response.Kvs) > 0 {
		o.seen, o.revision = string(response.Kvs[0].Value), response.Kvs[0].ModRevision
	}
}

func (l *load) record(o operation) {
	l.mu.Lock()
	l.operations = append(l.operations, o)
	l.mu.Unlock()
	if !o.unknown && o.writes() {
		l.acknowledged.Add(1)
		select {
		case l.progress <- struct{}{}:
		default:
		}
	}
}

// awaitWrites waits for this many more acknowledged writes and returns the time until the first
// one.
func (l *load) awaitWrites(t *testing.T, more int64) time.Duration {
	t.Helper()
	ctx := contextWithin(t, 2*time.Minute)
	begin, from := time.Now(), l.acknowledged.Load()
	var first time.Duration
	for {
		select {
		case <-l.progress:
		case <-ctx.Done():
			t.Fatalf("%d of %d more writes were acknowledged in two minutes", l.acknowledged.Load()-from, more)
		}
		got := l.acknowledged.Load() - from
		if got > 0 && first == 0 {
			first = time.Since(begin)
		}
		if got >= more {
			return first
		}
	}
}
