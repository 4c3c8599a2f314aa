package kv

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Field numbers of etcdserverpb.WatchResponse, ResponseHeader and mvccpb.Event.
const (
	watchHeader, watchID, watchFragment, watchEvents                = 1, 2, 7, 11
	headerClusterID, headerMemberID, headerRevision, headerRaftTerm = 1, 2, 3, 4
	eventPrevKV                                                     = 3
)

// sharedEvent is an event as it stands in a WatchResponse, encoded once and then sent to any number of watchers. The two
// forms, with and without the former value, are made when first wanted, by the one goroutine that made the sharedEvent;
// others see a form only after that goroutine has put the event into their queue.
type sharedEvent struct {
	event       *mvccpb.Event
	withoutPrev []byte
	withPrev    []byte
}

func newSharedEvent(e *mvccpb.Event) *sharedEvent { return &sharedEvent{event: e} }

func (e *sharedEvent) revision() int64 { return e.event.GetKv().GetModRevision() }

// encode makes the form wanted, unless it is there already, and returns its size.
func (e *sharedEvent) encode(prev bool) int {
	if prev && e.event.GetPrevKv() != nil {
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

func (e *sharedEvent) bytes(prev bool) []byte {
	if prev && e.event.GetPrevKv() != nil {
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
	if err != nil {
		panic(fmt.Sprintf("encoding an event of key %q: %v", e.GetKv().GetKey(), err)) // keys and values are bytes: nothing to reject
	}
	return b
}

// watchFrame is a WatchResponse with events, ready to be sent: what is the watcher's own, and the shared events.
type watchFrame struct {
	headers  *headers
	watchID  int64
	revision int64
	fragment bool
	prev     bool
	events   []*sharedEvent
}

// minSharedBytes is the size from which an event is handed to the transport as it is instead of being copied into the frame:
// small pieces cost the transport more than their copy.
const minSharedBytes = 1024

func (f *watchFrame) marshal() mem.BufferSlice {
	size := 64
	for _, e := range f.events {
		if n := len(e.bytes(f.prev)); n < minSharedBytes {
			size += n
		}
	}
	buffers := make(mem.BufferSlice, 0, 2)
	b := f.appendHead(make([]byte, 0, size))
	start := 0
	for _, e := range f.events {
		encoded := e.bytes(f.prev)
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
	return buffers
}

func (f *watchFrame) appendHead(b []byte) []byte {
	var header [48]byte
	h := header[:0]
	h = appendVarint(h, headerClusterID, f.headers.clusterID)
	h = appendVarint(h, headerMemberID, f.headers.memberID)
	h = appendVarint(h, headerRevision, uint64(f.revision))
	h = appendVarint(h, headerRaftTerm, f.headers.consensus.Term())
	b = protowire.AppendTag(b, watchHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, h)
	b = appendVarint(b, watchID, uint64(f.watchID))
	if f.fragment {
		b = appendVarint(b, watchFragment, 1)
	}
	return b
}

// appendVarint leaves zero out, as proto3 does.
func appendVarint(b []byte, field protowire.Number, v uint64) []byte {
	if v == 0 {
		return b
	}
	return protowire.AppendVarint(protowire.AppendTag(b, field, protowire.VarintType), v)
}

// portCodec is gRPC's codec for protobuf, and knows a watchFrame besides, and answers that are counted.
type portCodec struct {
	proto            encoding.CodecV2
	pendingResponses *pendingResponses
}

func newPortCodec() portCodec {
	return portCodec{encoding.GetCodecV2(grpcproto.Name), &pendingResponses{reservations: map[proto.Message]*reservation{}}}
}

func (c portCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *watchFrame:
		return m.marshal(), nil
	case *pb.RangeResponse:
		return c.pendingResponses.marshal(c.proto, m)
	case *pb.TxnResponse:
		return c.pendingResponses.marshal(c.proto, m)
	}
	return c.proto.Marshal(v)
}

func (c portCodec) Unmarshal(data mem.BufferSlice, v any) error { return c.proto.Unmarshal(data, v) }
func (c portCodec) Name() string                                { return grpcproto.Name }
