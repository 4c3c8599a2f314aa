package kv

import (
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc/encoding"
	grpcproto "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"

	"github.com/troupe-raft/troupe/kv/watch"
)

// portCodec is gRPC's protobuf codec, except for the responses that encode themselves. It counts
// the bytes of all messages.
type portCodec struct {
	encoding.CodecV2
	received, sent prometheus.Counter
}

func newPortCodec(m *metrics) portCodec {
	return portCodec{encoding.GetCodecV2(grpcproto.Name), m.receivedBytes, m.sentBytes}
}

func (c portCodec) Unmarshal(data mem.BufferSlice, v any) error {
	c.received.Add(float64(data.Len()))
	return c.CodecV2.Unmarshal(data, v)
}

func (c portCodec) Marshal(v any) (mem.BufferSlice, error) {
	data, err := c.marshal(v)
	c.sent.Add(float64(data.Len()))
	return data, err
}

func (c portCodec) marshal(v any) (mem.BufferSlice, error) {
	switch m := v.(type) {
	case *watch.Frame:
		return m.MarshalBuffers()
	case *budgetedResponse:
		return m.MarshalBuffers()
	}
	return c.CodecV2.Marshal(v)
}
