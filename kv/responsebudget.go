package kv

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/mvcc"
)

// responseBudget limits the memory of range responses, of all clients together: a client may
// request every key there is, and read the response slowly.
//
// Each response has a reservation, which goes with the request and the response:
//  1. The unary interceptor puts it into the request's context (reserveFor).
//  2. The read of the range reserves memory from the context's mvcc.ReadBudget as it grows.
//  3. The interceptor returns the response as a budgetedResponse with the reservation (attach).
//  4. The codec encodes it into a buffer that the transport frees when it has sent it, which
//     releases the reservation. A connection that is closed releases those of unsent responses.
//
// A RangeStream has a reservation for the chunk that it reads and sends, so a client that does not
// read keeps one chunk.
//
// The response and its encoding are counted once, although both exist for a moment.
//
// Results of writes are not counted: every member must apply a write alike, so its reads must not
// depend on this member's memory, and it has taken effect when its result is known. The streams of
// a connection bound how many of them wait to be sent (docs/limits.md, "What has no limit").
type responseBudget struct {
	limitBytes    int64
	reservedBytes atomic.Int64
	refused       prometheus.Counter
}

// reservationStepBytes is how much is reserved at a time, and how much a response may take without
// a reservation: most responses are smaller.
const reservationStepBytes = 64 << 10

// reservation is what one response has reserved. It implements mvcc.ReadBudget and mem.BufferPool.
type reservation struct {
	budget        *responseBudget
	connection    *connReservations // nil until the response is finished
	remaining     int               // bytes that may be used before more is reserved
	reservedBytes atomic.Int64
}

// reserveFor returns the reservation of a request whose response may be large, and the context to
// read under; nil for other requests.
func (b *responseBudget) reserveFor(ctx context.Context, request any) (context.Context, *reservation) {
	switch r := request.(type) {
	case *pb.RangeRequest:
		if len(r.RangeEnd) == 0 || r.CountOnly {
			return ctx, nil
		}
	case *pb.TxnRequest:
		// It is unchecked, so its operations are not walked here to see whether it only reads. A
		// write leaves the reservation unused: Apply does not read under the request's context,
		// since what it reads must not depend on this member's memory.
	default:
		return ctx, nil
	}
	return b.reserve(ctx)
}

// reserve returns a reservation, and the context to read under.
func (b *responseBudget) reserve(ctx context.Context) (context.Context, *reservation) {
	r := &reservation{budget: b, remaining: reservationStepBytes}
	return mvcc.WithReadBudget(ctx, r), r
}

// Reserve reserves bytes that the response is about to take, or refuses them.
func (r *reservation) Reserve(bytes int) error {
	if r.remaining -= bytes; r.remaining >= 0 {
		return nil
	}
	more := int64(reservationStepBytes - r.remaining)
	if r.budget.reservedBytes.Add(more) > r.budget.limitBytes {
		r.budget.reservedBytes.Add(-more)
		r.budget.refused.Inc()
		return status.Errorf(codes.ResourceExhausted, "troupe: range responses to all clients would exceed "+
			"max-response-bytes=%d; retry, or request less at a time (limit, keys only, count only)", r.budget.limitBytes)
	}
	r.reservedBytes.Add(more)
	r.remaining = reservationStepBytes
	return nil
}

// release returns to the budget what was reserved. A second call does nothing.
func (r *reservation) release() { r.budget.reservedBytes.Add(-r.reservedBytes.Swap(0)) }

// restart releases what was reserved before the next chunk of a stream is read. The one before is
// then in the transport's hands at most, which a stream's flow-control window bounds.
func (r *reservation) restart() {
	r.release()
	r.remaining = reservationStepBytes
}

// attach returns what to pass to gRPC for a response: itself if nothing was reserved, else with the
// reservation. gRPC encodes a response that a handler returns without an error.
func (r *reservation) attach(ctx context.Context, response any, err error) any {
	if r == nil || r.reservedBytes.Load() == 0 {
		return response
	}
	if err != nil {
		r.release()
		return response
	}
	if conn := connectionOf(ctx); conn != nil {
		conn.reservations.add(r)
	}
	return &budgetedResponse{response.(proto.Message), r}
}

// budgetedResponse is a response with its reservation.
type budgetedResponse struct {
	message     proto.Message
	reservation *reservation
}

// MarshalBuffers encodes the response into a buffer that releases the reservation when it is freed.
func (b *budgetedResponse) MarshalBuffers() (mem.BufferSlice, error) {
	data, err := proto.Marshal(b.message)
	if err != nil || mem.IsBelowBufferPoolingThreshold(cap(data)) {
		b.reservation.Put(nil)
		return mem.BufferSlice{mem.SliceBuffer(data)}, err
	}
	return mem.BufferSlice{mem.NewBuffer(&data, b.reservation)}, nil
}

// Get makes the reservation a mem.BufferPool; it is not called.
func (r *reservation) Get(length int) *[]byte {
	data := make([]byte, length)
	return &data
}

// Put is called once, when the transport has freed the response's buffer.
func (r *reservation) Put(*[]byte) {
	if r.connection != nil {
		r.connection.remove(r)
	}
	r.release()
}

// connReservations are the reservations of responses that a connection has not sent. A transport
// that is closed drops its buffers without freeing them, so the connection releases the
// reservations.
type connReservations struct {
	mu     sync.Mutex
	closed bool                      // guarded by mu
	unsent map[*reservation]struct{} // guarded by mu
}

func (c *connReservations) add(r *reservation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		r.release()
		return
	}
	if c.unsent == nil {
		c.unsent = map[*reservation]struct{}{}
	}
	c.unsent[r] = struct{}{}
	r.connection = c
}

func (c *connReservations) remove(r *reservation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.unsent, r)
}

// releaseAll is called when the connection is closed.
func (c *connReservations) releaseAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	for r := range c.unsent {
		r.release()
	}
	c.unsent = nil
}
