package link

import (
	"errors"
	"fmt"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// What goes over a stream is messages.Mail, byte for byte as protobuf has it; but neither a Mail nor its Letters are made
// as values: a mail is written straight from the messages that wait in a queue, and read straight into the messages that
// actors get. The large ones, AppendEntries and ForwardedProposals, are read without copying: their entries are slices of
// the mail's own buffer, which is allocated for this mail and never used again. So a follower allocates a handful of
// times for a batch of a hundred entries.

// letter is a message on its way out.
type queuedMessage struct {
	role    byte // a messages.Role
	size    int  // the message's encoded size
	message messages.PeerMessage
}

// outgoing is one mail to send; letters are encoded when gRPC asks for the bytes.
type outgoingBatch struct{ messages []queuedMessage }

// incoming is one mail received: bytes of its own, which messages may alias.
type incomingBatch struct{ data []byte }

// The fields of messages.Mail and messages.Letter.
const (
	batchEnvelopesField = 1
	envelopeRoleField   = 1
)

// codec is the encoding of the link's streams. It knows nothing but mails.
type batchCodec struct{}

// Name is part of the content type; protobuf is what it is.
func (batchCodec) Name() string { return "proto" }

func (batchCodec) Marshal(v any) (mem.BufferSlice, error) {
	mail, ok := v.(*outgoingBatch)
	if !ok {
		return nil, fmt.Errorf("link: %T is not a mail", v)
	}
	pool := mem.DefaultBufferPool()
	buffer := pool.Get(mail.size())
	data, err := mail.append((*buffer)[:0])
	if err != nil {
		return nil, err
	}
	*buffer = data
	return mem.BufferSlice{mem.NewBuffer(buffer, pool)}, nil
}

func (batchCodec) Unmarshal(data mem.BufferSlice, v any) error {
	mail, ok := v.(*incomingBatch)
	if !ok {
		return fmt.Errorf("link: %T is not a mail", v)
	}
	mail.data = data.Materialize()
	return nil
}

// envelopeSize is the encoded size of the Letter that carries a message of this size.
func envelopeSize(number protowire.Number, size int) int {
	return protowire.SizeTag(envelopeRoleField) + 1 + protowire.SizeTag(number) + protowire.SizeBytes(size)
}

func (o *outgoingBatch) size() int {
	total := 0
	for _, l := range o.messages {
		total += protowire.SizeTag(batchEnvelopesField) + protowire.SizeBytes(envelopeSize(l.message.EnvelopeField(), l.size))
	}
	return total
}

// append writes the mail. Messages are immutable, so the sizes found when they were queued still hold.
func (o *outgoingBatch) append(data []byte) ([]byte, error) {
	var err error
	for _, l := range o.messages {
		number := l.message.EnvelopeField()
		data = protowire.AppendTag(data, batchEnvelopesField, protowire.BytesType)
		data = protowire.AppendVarint(data, uint64(envelopeSize(number, l.size)))
		data = protowire.AppendTag(data, envelopeRoleField, protowire.VarintType)
		data = append(data, l.role)
		data = protowire.AppendTag(data, number, protowire.BytesType)
		data = protowire.AppendVarint(data, uint64(l.size))
		before := len(data)
		if data, err = (proto.MarshalOptions{UseCachedSize: true}).MarshalAppend(data, l.message); err != nil {
			return nil, fmt.Errorf("link: encode %T: %w", l.message, err)
		}
		if written := len(data) - before; written != l.size {
			return nil, fmt.Errorf("link: %T of %d bytes was one of %d when it was sent: messages must not be changed", l.message, written, l.size)
		}
	}
	return data, nil
}

// errMalformed is the error of bytes that end early or are no protobuf.
var errMalformed = errors.New("malformed protobuf")

// A field's number and wire type, as protobuf writes them before its value. What comes under a known number with another
// wire type is not that field.
const (
	wireVarint = uint64(protowire.VarintType)
	wireBytes  = uint64(protowire.BytesType)
)

// letters calls each with every letter of the mail. A letter that carries nothing this release knows has no message.
func (i *incomingBatch) forEach(each func(messages.Role, messages.PeerMessage)) error {
	return forEachField(i.data, func(tag uint64, value []byte, _ uint64) error {
		if tag != batchEnvelopesField<<3|wireBytes {
			return nil
		}
		role, message, err := parseEnvelope(value)
		if err != nil {
			return err
		}
		each(role, message)
		return nil
	})
}

func parseEnvelope(data []byte) (role messages.Role, message messages.PeerMessage, err error) {
	err = forEachField(data, func(tag uint64, value []byte, number uint64) error {
		if tag == envelopeRoleField<<3|wireVarint {
			role = messages.Role(number)
			return nil
		}
		if tag&7 != wireBytes {
			return nil
		}
		fresh := messages.NewPeerMessage(protowire.Number(tag >> 3))
		if fresh == nil {
			return nil
		}
		message = fresh
		switch m := fresh.(type) {
		case *messages.AppendEntries:
			return parseAppendEntries(value, m)
		case *messages.ForwardedProposals:
			return parseForwardedProposals(value, m)
		}
		if err := proto.Unmarshal(value, fresh); err != nil {
			return fmt.Errorf("%T: %w", fresh, err)
		}
		return nil
	})
	return role, message, err
}

// fields calls each with every field of an encoded message: value is set for those of length-delimited type, number for
// varints; others are skipped.
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
