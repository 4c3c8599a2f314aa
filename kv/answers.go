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
type answers struct {
	limit   int64
	taken   atomic.Int64
	refused prometheus.Counter
}

// answerPiece is how many bytes are taken at a time, and what an answer may take without being counted: most never are.
const answerPiece = 64 << 10

// answer is the account of one answer.
type answer struct {
	of     *answers
	room   int // that may be used before more is taken
	taken  atomic.Int64
	unsent *unsent // of the connection that it is sent over, once it is
}

func (a *answers) begin() *answer { return &answer{of: a, room: answerPiece} }

// Take counts bytes that the answer is about to occupy, or refuses them. It is a mvcc.Meter.
func (w *answer) Take(bytes int) error {
	if w.room -= bytes; w.room >= 0 {
		return nil
	}
	more := int64(answerPiece - w.room)
	if w.of.taken.Add(more) > w.of.limit {
		w.of.taken.Add(-more)
		w.of.refused.Inc()
		return status.Errorf(codes.ResourceExhausted, "troupe: the answers to all clients' ranges would take more than "+
			"max-answer-bytes=%d; ask again, or for less at a time (limit, keys only, count only)", w.of.limit)
	}
	w.taken.Add(more)
	w.room = answerPiece
	return nil
}

// give gives back what was taken. To do so again changes nothing.
func (w *answer) give() { w.of.taken.Add(-w.taken.Swap(0)) }

// unsent are the counted answers that a connection has not sent. When it is closed they go with it: the transport then
// forgets what it had to send without a word.
type unsent struct {
	mu       sync.Mutex
	closed   bool                 // guarded by mu
	accounts map[*answer]struct{} // guarded by mu
}

func (u *unsent) add(account *answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		account.give()
		return
	}
	if u.accounts == nil {
		u.accounts = map[*answer]struct{}{}
	}
	u.accounts[account] = struct{}{}
	account.unsent = u
}

func (u *unsent) remove(account *answer) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.accounts, account)
}

func (u *unsent) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	for account := range u.accounts {
		account.give()
	}
	u.accounts = nil
}

// sending holds the accounts of answers that gRPC was given and has not encoded yet. gRPC encodes whatever a handler
// returns without an error, at once.
type sending struct {
	mu       sync.Mutex
	accounts map[proto.Message]*answer // guarded by mu
}

// pass gives the account on to who encodes the answer. What was small enough not to be counted has none.
func (s *sending) pass(ctx context.Context, response proto.Message, account *answer, err error) {
	switch {
	case account.taken.Load() == 0:
	case err != nil:
		account.give()
	default:
		if conn := connectionOf(ctx); conn != nil {
			conn.unsent.add(account)
		}
		s.mu.Lock()
		s.accounts[response] = account
		s.mu.Unlock()
	}
}

func (s *sending) take(response proto.Message) *answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	account := s.accounts[response]
	delete(s.accounts, response)
	return account
}

// marshal encodes an answer; one that is counted is given back when the transport is done with its bytes.
func (s *sending) marshal(codec encoding.CodecV2, response proto.Message) (mem.BufferSlice, error) {
	account := s.take(response)
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
func (w *answer) Get(length int) *[]byte {
	data := make([]byte, length)
	return &data
}

// Put is called once, when nobody needs the bytes any more.
func (w *answer) Put(*[]byte) {
	if w.unsent != nil {
		w.unsent.remove(w)
	}
	w.give()
}
