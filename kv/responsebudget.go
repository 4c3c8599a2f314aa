package kv

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// answers bounds the memory of range answers that are being made or are on their way, of all clients together: a client
// may ask for everything there is, and take its time to read it. What an answer takes is counted while it is made and given
// back when the transport has sent it.
//
// An answer and its encoded form are counted once, and exist both for a moment.
type responseBudget struct {
	limitBytes    int64
	reservedBytes atomic.Int64
	refused       prometheus.Counter
}

// reservationStepBytes is how many bytes are taken at a time, and what an answer may take without being counted: most never are.
const reservationStepBytes = 64 << 10

// answer is the account of one answer.
type reservation struct {
	budget        *responseBudget
	remaining     int // that may be used before more is taken
	reservedBytes atomic.Int64
	connection    *connReservations // of the connection that it is sent over, once it is
}

func (a *responseBudget) newReservation() *reservation {
	return &reservation{budget: a, remaining: reservationStepBytes}
}

// Take counts bytes that the answer is about to occupy, or refuses them. It is a mvcc.Meter.
func (w *reservation) Reserve(bytes int) error {
	if w.remaining -= bytes; w.remaining >= 0 {
		return nil
	}
	more := int64(reservationStepBytes - w.remaining)
	if w.budget.reservedBytes.Add(more) > w.budget.limitBytes {
		w.budget.reservedBytes.Add(-more)
		w.budget.refused.Inc()
		return status.Errorf(codes.ResourceExhausted, "troupe: the answers to all clients' ranges would take more than "+
			"max-answer-bytes=%d; ask again, or for less at a time (limit, keys only, count only)", w.budget.limitBytes)
	}
	w.reservedBytes.Add(more)
	w.remaining = reservationStepBytes
	return nil
}

// give gives back what was taken. To do so again changes nothing.
func (w *reservation) release() { w.budget.reservedBytes.Add(-w.reservedBytes.Swap(0)) }

// unsent are the counted answers that a connection has not sent. When it is closed they go with it: the transport then
// forgets what it had to send without a word.
type connReservations struct {
	mu           sync.Mutex
	closed       bool                      // guarded by mu
	reservations map[*reservation]struct{} // guarded by mu
}

func (u *connReservations) add(account *reservation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		account.release()
		return
	}
	if u.reservations == nil {
		u.reservations = map[*reservation]struct{}{}
	}
	u.reservations[account] = struct{}{}
	account.connection = u
}

func (u *connReservations) remove(account *reservation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.reservations, account)
}

func (u *connReservations) releaseAll() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for account := range u.reservations {
		account.release()
	}
	u.reservations = nil
}

// sending holds the accounts of answers that gRPC was given and has not encoded yet. gRPC encodes whatever a handler
// returns without an error, at once.
type pendingResponses struct {
	mu           sync.Mutex
	reservations map[proto.Message]*reservation // guarded by mu
}

// pass gives the account on to who encodes the answer. What was small enough not to be counted has none.
func (s *pendingResponses) attach(ctx context.Context, response proto.Message, account *reservation, err error) {
	switch {
	case account.reservedBytes.Load() == 0:
	case err != nil:
		account.release()
	default:
		if conn := connectionOf(ctx); conn != nil {
			conn.reservations.add(account)
		}
		s.mu.Lock()
		s.reservations[response] = account
		s.mu.Unlock()
	}
}

func (s *pendingResponses) detach(response proto.Message) *reservation {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := s.reservations[response]
	delete(s.reservations, response)
	return account
}

// marshal encodes an answer; one that is counted is given back when the transport is done with its bytes.
func (s *pendingResponses) marshal(codec encoding.CodecV2, response proto.Message) (mem.BufferSlice, error) {
	account := s.detach(response)
	if account == nil {
		return codec.Marshal(response)
	}
	data, err := proto.Marshal(response)
	if err != nil || mem.IsBelowBufferPoolingThreshold(cap(data)) {
		account.Put(nil)
		return mem.BufferSlice{mem.SliceBuffer(data)}, err
	}
	return mem.BufferSlice{mem.NewBuffer(&data, account)}, nil
}

// Get and Put make the account the pool of its answer's bytes: to be told when they are put back is all that it wants.
func (w *reservation) Get(length int) *[]byte {
	data := make([]byte, length)
	return &data
}

// Put is called once, when nobody needs the bytes any more.
func (w *reservation) Put(*[]byte) {
	if w.connection != nil {
		w.connection.remove(w)
	}
	w.release()
}
