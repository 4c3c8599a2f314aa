package kv

import (
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/troupe-raft/troupe/kv/watch"
)

// portCodec is gRPC's protobuf codec, except for the responses that encode themselves.
type portCodec struct{ encoding.CodecV2 }

func newPortCodec() portCodec { return portCodec{encoding.GetCodecV2(grpcproto.Name)} }

func (c portCodec) Marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *watch.Frame:
		return m.MarshalBuffers()
	case *budgetedResponse:
		return m.MarshalBuffers()
	}
	return c.CodecV2.Marshal(v)
}
