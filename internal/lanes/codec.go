package lanes

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// A stream carries messages.EnvelopeBatch in protobuf's encoding, but no EnvelopeBatch and no
// Envelope is ever made. A batch is encoded directly from the queued messages and decoded directly
// into the messages that the actors receive.
//
// AppendEntries and ForwardedProposals are decoded without copying: their entries are slices of the
// buffer of the batch. The buffer belongs to this batch alone and is never reused. A follower thus
// makes a handful of allocations for a batch of a hundred entries.

// The numbers of EnvelopeBatch.envelopes and Envelope.role.
const (
	batchEnvelopesField = 1
	envelopeRoleField   = 1
)

// envelopeSize returns the encoded size of an Envelope with a message of the given size.
func envelopeSize(number protowire.Number, size int) int {
	return protowire.SizeTag(envelopeRoleField) + 1 + protowire.SizeTag(number) + protowire.SizeBytes(size)
}

// BatchSize returns the encoded size of a batch.
func BatchSize(batch []Message) int {
	total := 0
	for _, m := range batch {
		total += protowire.SizeTag(batchEnvelopesField) + protowire.SizeBytes(envelopeSize(m.Message.EnvelopeField(), m.Size))
	}
	return total
}

// AppendBatch appends the encoding of a batch to data. Messages are immutable, so their sizes are
// as they were when queued; another size is an error.
func AppendBatch(data []byte, batch []Message) ([]byte, error) {
	var err error
	for _, m := range batch {
		number := m.Message.EnvelopeField()
		data = protowire.AppendTag(data, batchEnvelopesField, protowire.BytesType)
		data = protowire.AppendVarint(data, uint64(envelopeSize(number, m.Size)))
		data = protowire.AppendTag(data, envelopeRoleField, protowire.VarintType)
		data = append(data, byte(m.Role))
		data = protowire.AppendTag(data, number, protowire.BytesType)
		data = protowire.AppendVarint(data, uint64(m.Size))
		before := len(data)
		if data, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(data, m.Message); err != nil {
			return nil, fmt.Errorf("encode %T: %w", m.Message, err)
		}
		if written := len(data) - before; written != m.Size {
			return nil, fmt.Errorf("%T has %d bytes and had %d when it was sent: messages must not be changed",
				m.Message, written, m.Size)
		}
	}
	return data, nil
}

// errMalformed is the error of bytes that end early or are not protobuf.
var errMalformed = errors.New("malformed protobuf")

// The wire types in the tag of a field. A field with a known number and another wire type is
// skipped.
const (
	wireVarint = uint64(protowire.VarintType)
	wireBytes  = uint64(protowire.BytesType)
)

// ForEach calls each with the role and the message of every envelope of an encoded batch. The
// message is nil if this release does not know its type. Messages may share the memory of data.
func ForEach(data []byte, each func(messages.Receiver, messages.PeerMessage)) error {
	return forEachField(data, func(tag uint64, value []byte, _ uint64) error {
		if tag != batchEnvelopesField<<3|wireBytes {
			return nil
		}
		role, message, err := decodeEnvelope(value)
		if err != nil {
			return err
		}
		each(role, message)
		return nil
	})
}

func decodeEnvelope(data []byte) (role messages.Receiver, message messages.PeerMessage, err error) {
	err = forEachField(data, func(tag uint64, value []byte, number uint64) error {
		if tag == envelopeRoleField<<3|wireVarint {
			role = messages.Receiver(number)
			return nil
		}
		if tag&7 != wireBytes {
			return nil
		}
		decoded := messages.NewPeerMessage(protowire.Number(tag >> 3))
		if decoded == nil {
			return nil
		}
		message = decoded
		switch m := decoded.(type) {
		case *messages.AppendEntries:
			return decodeAppendEntries(value, m)
		case *messages.ForwardedProposals:
			return decodeForwardedProposals(value, m)
		}
		if err := proto.Unmarshal(value, decoded); err != nil {
			return fmt.Errorf("%T: %w", decoded, err)
		}
		return nil
	})
	return role, message, err
}

// forEachField calls each with every field of an encoded message that is length-delimited (value is
// set) or a varint (number is set). It skips fields of other types.
func forEachField(data []byte, each func(tag uint64, value []byte, number uint64) error) error {
	for len(data) > 0 {
		field, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return errMalformed
		}
		data = data[n:]
		var value []byte
		var number uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(data)
		case protowire.VarintType:
			number, n = protowire.ConsumeVarint(data)
		default:
			n = protowire.ConsumeFieldValue(field, kind, data)
		}
		if n < 0 {
			return errMalformed
		}
		data = data[n:]
		if kind != protowire.BytesType && kind != protowire.VarintType {
			continue
		}
		if err := each(protowire.EncodeTag(field, kind), value, number); err != nil {
			return err
		}
	}
	return nil
}
