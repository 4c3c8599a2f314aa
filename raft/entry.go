package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// EntryKind says what an entry of the log is for.
type EntryKind byte

const (
	// KindCommand is a command of the application.
	KindCommand EntryKind = iota + 1
	// KindNoop is what a new leader appends, so that something of its own term can be committed (Raft §8).
	KindNoop
	// KindConfiguration changes who takes part.
	KindConfiguration
	// KindRegisterSession makes a handle known: the entry's index is the origin's id.
	KindRegisterSession
	// KindExpireSession forgets an origin and the answers kept for it.
	KindExpireSession
	// KindBarrier is answered as a command is, and does nothing: a read through the log.
	KindBarrier
)

func (k EntryKind) String() string {
	switch k {
	case KindCommand:
		return "command"
	case KindNoop:
		return "noop"
	case KindConfiguration:
		return "configuration"
	case KindRegisterSession:
		return "openOrigin"
	case KindExpireSession:
		return "closeOrigin"
	case KindBarrier:
		return "barrier"
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// ErrMalformedEntry is the error of every decoder here.
var ErrMalformedEntry = errors.New("malformed log entry")

// The bytes of an entry, made once by who proposes it and never changed:
//
//	command        1 | uvarint origin | uvarint sequence | uvarint lowestOutstanding | payload
//	noop           2
//	configuration  3 | marshalled messages.Configuration
//	openOrigin     4 | uvarint node | nonce
//	closeOrigin    5 | uvarint origin
//	barrier        6 | uvarint origin | uvarint sequence | uvarint lowestOutstanding
//
// There is exactly one encoding of a value: a uvarint with needless bytes, or bytes after the end, are refused, so that
// equal entries are equal bytes.

// EncodeCommand makes the entry of a command. lowestOutstanding is the lowest sequence of this origin whose answer its
// handle still waits for: answers below it need not be kept any more.
func EncodeCommand(origin, sequence, lowestOutstanding uint64, payload []byte) []byte {
	return encodeSequenced(KindCommand, origin, sequence, lowestOutstanding, payload)
}

// EncodeBarrier makes the entry of a read through the log: numbered and answered as a command, and shown to nobody.
func EncodeBarrier(origin, sequence, lowestOutstanding uint64) []byte {
	return encodeSequenced(KindBarrier, origin, sequence, lowestOutstanding, nil)
}

func encodeSequenced(kind EntryKind, origin, sequence, lowestOutstanding uint64, payload []byte) []byte {
	size := 1 + uvarintLen(origin) + uvarintLen(sequence) + uvarintLen(lowestOutstanding) + len(payload)
	data := append(make([]byte, 0, size), byte(kind))
	data = binary.AppendUvarint(data, origin)
	data = binary.AppendUvarint(data, sequence)
	data = binary.AppendUvarint(data, lowestOutstanding)
	return append(data, payload...)
}

// EncodeNoop makes the entry with which a leader begins its term.
func EncodeNoop() []byte { return []byte{byte(KindNoop)} }

// EncodeConfiguration makes the entry of a configuration; the same configuration gives the same bytes on every node, so
// that all members of a new cluster begin with the same entry at index 1.
func EncodeConfiguration(c *messages.Configuration) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{byte(KindConfiguration)}, c)
	if err != nil {
		panic(fmt.Sprintf("marshal configuration %v: %v", c, err)) // only invalid UTF-8 does this: ValidateConfiguration refuses it
	}
	return data
}

// EncodeRegisterSession makes the entry that opens an origin. The handle recognises its own by the nonce.
func EncodeRegisterSession(nonce []byte, node uint64) []byte {
	data := append(make([]byte, 0, 1+uvarintLen(node)+len(nonce)), byte(KindRegisterSession))
	data = binary.AppendUvarint(data, node)
	return append(data, nonce...)
}

// EncodeExpireSession makes the entry that closes an origin.
func EncodeExpireSession(origin uint64) []byte {
	data := append(make([]byte, 0, 1+uvarintLen(origin)), byte(KindExpireSession))
	return binary.AppendUvarint(data, origin)
}

// Entry is a decoded entry. Payload aliases the bytes it was decoded from.
type Entry struct {
	Kind EntryKind
	// Origin, Sequence and LowestOutstanding of a command or barrier; Origin of a closeOrigin.
	SessionID         uint64
	Sequence          uint64
	LowestOutstanding uint64
	// Node of an openOrigin.
	NodeID uint64
	// Payload is the application's command, the nonce of an openOrigin, or a marshalled configuration.
	Payload []byte
}

// KindOf tells the kind of an entry by its first byte; 0 where that is none.
func KindOf(data []byte) EntryKind {
	if len(data) == 0 || data[0] < byte(KindCommand) || data[0] > byte(KindBarrier) {
		return 0
	}
	return EntryKind(data[0])
}

// DecodeEntry decodes without allocating. The bytes of a configuration are not looked into; see DecodeConfiguration.
func DecodeEntry(data []byte) (Entry, error) {
	e := Entry{Kind: KindOf(data)}
	if e.Kind == 0 {
		return Entry{}, unknownKindError(data)
	}
	rest, ok := data[1:], true
	switch e.Kind {
	case KindCommand, KindBarrier:
		ok = e.decodeSequenced(rest)
	case KindNoop:
		ok = len(rest) == 0
	case KindConfiguration:
		e.Payload = rest
	case KindRegisterSession:
		e.NodeID, e.Payload, ok = cutUvarint(rest)
	case KindExpireSession:
		e.SessionID, rest, ok = cutUvarint(rest)
		ok = ok && len(rest) == 0
	}
	if !ok {
		return Entry{}, fmt.Errorf("decode %v of %d bytes: %w", e.Kind, len(data), ErrMalformedEntry)
	}
	return e, nil
}

func (e *Entry) decodeSequenced(rest []byte) (ok bool) {
	if e.SessionID, rest, ok = cutUvarint(rest); !ok {
		return false
	}
	if e.Sequence, rest, ok = cutUvarint(rest); !ok {
		return false
	}
	e.LowestOutstanding, rest, ok = cutUvarint(rest)
	if e.Kind == KindCommand {
		e.Payload = rest
		return ok
	}
	return ok && len(rest) == 0
}

// DecodeConfiguration decodes a whole entry that must be a configuration.
func DecodeConfiguration(data []byte) (*messages.Configuration, error) {
	if k := KindOf(data); k != KindConfiguration {
		return nil, fmt.Errorf("decode configuration: entry is a %v: %w", k, ErrMalformedEntry)
	}
	c := new(messages.Configuration)
	if err := proto.Unmarshal(data[1:], c); err != nil {
		return nil, fmt.Errorf("decode configuration: %w: %w", ErrMalformedEntry, err)
	}
	return c, nil
}

func unknownKindError(data []byte) error {
	if len(data) == 0 {
		return fmt.Errorf("decode entry: no bytes: %w", ErrMalformedEntry)
	}
	return fmt.Errorf("decode entry: first byte %d is no kind: %w", data[0], ErrMalformedEntry)
}

// cutUvarint takes a uvarint in its shortest form off the front.
func cutUvarint(data []byte) (value uint64, rest []byte, ok bool) {
	value, n := binary.Uvarint(data)
	if n <= 0 || n != uvarintLen(value) {
		return 0, nil, false
	}
	return value, data[n:], true
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
