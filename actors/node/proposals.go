package node

import "github.com/troupe-raft/troupe/messages"

// proposalBuffer collects proposals until the Node handles the Flush that it has sent to itself.
// All proposals that were in the mailbox before the Flush become one batch: the more there is to
// do, the larger the batches. At the Flush a leader appends the proposals, a node with a
// known leader forwards them, and any other refuses them.
type proposalBuffer struct {
	data  [][]byte
	bytes uint64
	// forwarders are the peers that forwarded some of data.
	forwarders []uint64
}

func (b *proposalBuffer) add(data ...[]byte) {
	b.data = append(b.data, data...)
	b.bytes += totalBytes(data)
}

func (b *proposalBuffer) take() (data [][]byte, bytes uint64, forwarders []uint64) {
	data, bytes, forwarders = b.data, b.bytes, b.forwarders
	b.data, b.bytes, b.forwarders = nil, 0, nil
	return data, bytes, forwarders
}

// refusal returns OVERLOADED and the limit if `size` more bytes would exceed it, together with
// those collected and those uncommitted; else UNSPECIFIED. If there are none, any size is accepted.
func (b *proposalBuffer) refusal(size, uncommitted, limit uint64) (messages.Refusal, uint64) {
	if pending := b.bytes + uncommitted; pending > 0 && pending+size > limit {
		return messages.Refusal_REFUSAL_OVERLOADED, limit
	}
	return messages.Refusal_REFUSAL_UNSPECIFIED, 0
}

// takeBatch removes the first proposals, at most limit bytes and at least one.
func (b *proposalBuffer) takeBatch(limit uint64) (batch [][]byte) {
	bytes, k := uint64(0), 0
	for k < len(b.data) && (k == 0 || bytes+uint64(len(b.data[k])) <= limit) {
		bytes += uint64(len(b.data[k]))
		k++
	}
	batch, b.data, b.bytes = b.data[:k:k], b.data[k:], b.bytes-bytes
	return batch
}

func totalBytes(data [][]byte) (bytes uint64) {
	for _, d := range data {
		bytes += uint64(len(d))
	}
	return bytes
}

// forEachBatch calls do with consecutive parts of data of at most limit bytes, and at least one
// entry.
func forEachBatch(data [][]byte, bytes, limit uint64, do func(data [][]byte, bytes uint64)) {
	for bytes > limit {
		size, k := uint64(len(data[0])), 1
		for k < len(data) && size+uint64(len(data[k])) <= limit {
			size += uint64(len(data[k]))
			k++
		}
		do(data[:k:k], size)
		data, bytes = data[k:], bytes-size
	}
	if len(data) > 0 {
		do(data, bytes)
	}
}
