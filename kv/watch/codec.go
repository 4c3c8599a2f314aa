package watch

import (
	"fmt"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/kv/internal/header"
)

// Field numbers of etcdserverpb.WatchResponse and ResponseHeader.
const (
	watchHeader, watchID, watchFragment, watchEvents                = 1, 2, 7, 11
	headerClusterID, headerMemberID, headerRevision, headerRaftTerm = 1, 2, 3, 4
)

// sharedEvent is an event encoded as a field of a WatchResponse, once for all watchers. The forms
// with and without the previous value are made on demand by the goroutine that made the
// sharedEvent; other goroutines see a form only after that one has queued the event for them.
type sharedEvent struct {
	event       *mvccpb.Event
	withoutPrev []byte
	withPrev    []byte
}

func newSharedEvent(e *mvccpb.Event) *sharedEvent { return &sharedEvent{event: e} }

func (e *sharedEvent) revision() int64 { return e.event.GetKv().GetModRevision() }

// encode makes the form unless it exists, and returns its size.
func (e *sharedEvent) encode(prevKV bool) int {
	if prevKV && e.event.GetPrevKv() != nil {
		if e.withPrev == nil {
			e.withPrev = encodeEventField(e.event)
		}
		return len(e.withPrev)
	}
	if e.withoutPrev == nil {
		e.withoutPrev = encodeEventField(&mvccpb.Event{Type: e.event.GetType(), Kv: e.event.GetKv()})
	}
	return len(e.withoutPrev)
}

// bytes returns a form that encode has made.
func (e *sharedEvent) bytes(prevKV bool) []byte {
	if prevKV && e.event.GetPrevKv() != nil {
		return e.withPrev
	}
	return e.withoutPrev
}

func encodeEventField(e *mvccpb.Event) []byte {
	size := proto.Size(e)
	b := make([]byte, 0, protowire.SizeTag(watchEvents)+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, watchEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend(b, e)
	if err != nil { // keys and values are bytes, which no encoding rejects
		panic(fmt.Sprintf("watch: encoding an event of key %q: %v", e.GetKv().GetKey(), err))
	}
	return b
}

// Frame is a WatchResponse with events: the fields of one watcher, and the shared events.
type Frame struct {
	header   *header.Maker
	watchID  int64
	revision int64
	fragment bool
	prevKV   bool
	events   []*sharedEvent
}

// minSharedBytes is the size from which an event's bytes are passed to the transport themselves:
// a small buffer costs the transport more than copying the event into the frame's buffer.
const minSharedBytes = 1024

// MarshalBuffers encodes the response.
func (f *Frame) MarshalBuffers() (mem.BufferSlice, error) {
	size := 64
	for _, e := range f.events {
		if n := len(e.bytes(f.prevKV)); n < minSharedBytes {
			size += n
		}
	}
	buffers := make(mem.BufferSlice, 0, 2)
	b := f.appendHead(make([]byte, 0, size))
	start := 0
	for _, e := range f.events {
		encoded := e.bytes(f.prevKV)
		if len(encoded) < minSharedBytes {
			b = append(b, encoded...)
			continue
		}
		if len(b) > start {
			buffers = append(buffers, mem.SliceBuffer(b[start:len(b):len(b)]))
			start = len(b)
		}
		buffers = append(buffers, mem.SliceBuffer(encoded))
	}
	if len(b) > start {
		buffers = append(buffers, mem.SliceBuffer(b[start:]))
	}
	return buffers, nil
}

// appendHead appends everything but the events.
func (f *Frame) appendHead(b []byte) []byte {
	var array [48]byte
	h := array[:0]
	h = appendVarint(h, headerClusterID, f.header.ClusterID)
	h = appendVarint(h, headerMemberID, f.header.MemberID)
	h = appendVarint(h, headerRevision, uint64(f.revision))
	h = appendVarint(h, headerRaftTerm, f.header.Term())
	b = protowire.AppendTag(b, watchHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, h)
	b = appendVarint(b, watchID, uint64(f.watchID))
	if f.fragment {
		b = appendVarint(b, watchFragment, 1)
	}
	return b
}

// appendVarint leaves out zero, as proto3 does.
func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// appendFragments splits a response whose events exceed limit bytes. All fragments but the last say
// that another one follows.
func (f *Frame) appendFragments(frames []*Frame, limit int) []*Frame {
	events := f.events
	for {
		n, size := 0, 0
		for n < len(events) {
			size += len(events[n].bytes(f.prevKV))
			if n > 0 && size >= limit {
				break
			}
			n++
		}
		fragment := *f
		fragment.events, events = events[:n:n], events[n:]
		fragment.fragment = len(events) > 0
		frames = append(frames, &fragment)
		if !fragment.fragment {
			return frames
		}
	}
}
