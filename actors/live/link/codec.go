package link

import (
	"fmt"

	"google.golang.org/grpc/mem"

	"github.com/troupe-raft/troupe/internal/lanes"
	"github.com/troupe-raft/troupe/messages"
)

// outgoingBatch is a batch to send. It is encoded when gRPC asks for the bytes.
type outgoingBatch struct{ messages []lanes.Message }

// incomingBatch is a received batch. Its messages may share the memory of data.
type incomingBatch struct{ data []byte }

// batchCodec encodes outgoingBatch and decodes incomingBatch.
type batchCodec struct{}

// Name is part of the content type.
func (batchCodec) Name() string { return "proto" }

func (batchCodec) Marshal(v any) (mem.BufferSlice, error) {
	batch, ok := v.(*outgoingBatch)
	if !ok {
		return nil, fmt.Errorf("link: cannot encode %T", v)
	}
	pool := mem.DefaultBufferPool()
	buffer := pool.Get(batch.size())
	data, err := lanes.AppendBatch((*buffer)[:0], batch.messages)
	if err != nil {
		return nil, err
	}
	*buffer = data
	return mem.BufferSlice{mem.NewBuffer(buffer, pool)}, nil
}

func (batchCodec) Unmarshal(data mem.BufferSlice, v any) error {
	batch, ok := v.(*incomingBatch)
	if !ok {
		return fmt.Errorf("link: cannot decode %T", v)
	}
	batch.data = data.Materialize()
	return nil
}

func (o *outgoingBatch) size() int { return lanes.BatchSize(o.messages) }

// forEach calls each with the role and the message of every envelope (see lanes.ForEach).
func (i *incomingBatch) forEach(each func(messages.Receiver, messages.PeerMessage)) error {
	return lanes.ForEach(i.data, each)
}
