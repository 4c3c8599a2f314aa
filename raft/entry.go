package raft

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/messages"
)

// EntryKind is the purpose of a log entry.
type EntryKind byte

const (
	// KindCommand is a command of the application.
	KindCommand EntryKind = iota + 1
	// KindNoop is the first entry of a leader, which it can commit in its own term (Raft §8).
	KindNoop
	// KindConfiguration changes the members.
	KindConfiguration
	// KindRegisterSession registers a client session: the index of the entry is the session id.
	KindRegisterSession
	// KindExpireSession removes a client session with its cached replies.
	KindExpireSession
	// KindBarrier has a reply like a command and no effect: a read through the log.
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
		return "registerSession"
	case KindExpireSession:
		return "expireSession"
	case KindBarrier:
		return "barrier"
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// ErrMalformedEntry is wrapped by all errors of DecodeEntry and DecodeConfiguration.
var ErrMalformedEntry = errors.New("malformed log entry")

// The bytes of an entry. The proposer makes them once and nothing changes them:
//
//	command          1 | uvarint sessionID | uvarint sequence | uvarint lowestOutstanding | payload
//	noop             2
//	configuration    3 | marshalled messages.Configuration
//	registerSession  4 | uvarint nodeID | nonce
//	expireSession    5 | uvarint sessionID
//	barrier          6 | uvarint sessionID | uvarint sequence | uvarint lowestOutstanding
//
// A value has exactly one encoding: decoders refuse a uvarint that is longer than necessary, and
// bytes after the end. So equal entries have equal bytes.

// EncodeCommand returns the entry of a command. lowestOutstanding is the lowest sequence of the
// session whose reply the Session has not received; cached replies below it can be removed.
func EncodeCommand(sessionID, sequence, lowestOutstanding uint64, payload []byte) []byte {
	return encodeSequenced(KindCommand, sessionID, sequence, lowestOutstanding, payload)
}

// EncodeBarrier returns the entry of a barrier: a command that no state machine receives.
func EncodeBarrier(sessionID, sequence, lowestOutstanding uint64) []byte {
	return encodeSequenced(KindBarrier, sessionID, sequence, lowestOutstanding, nil)
}

func encodeSequenced(kind EntryKind, sessionID, sequence, lowestOutstanding uint64, payload []byte) []byte {
	size := 1 + uvarintLen(sessionID) + uvarintLen(sequence) + uvarintLen(lowestOutstanding) + len(payload)
	data := append(make([]byte, 0, size), byte(kind))
	data = binary.AppendUvarint(data, sessionID)
	data = binary.AppendUvarint(data, sequence)
	data = binary.AppendUvarint(data, lowestOutstanding)
	return append(data, payload...)
}

// EncodeNoop returns the first entry of a leader.
func EncodeNoop() []byte { return []byte{byte(KindNoop)} }

// EncodeConfiguration returns the entry of a configuration. The bytes are the same on every node,
// so all members of a new cluster have the same entry at index 1.
func EncodeConfiguration(c *messages.Configuration) []byte {
	data, err := proto.MarshalOptions{Deterministic: true}.MarshalAppend([]byte{byte(KindConfiguration)}, c)
	if err != nil {
		panic(fmt.Sprintf("marshal configuration %v: %v", c, err)) // not UTF-8: see ValidateConfiguration
	}
	return data
}

// EncodeRegisterSession returns the entry that registers a client session. The Session recognises
// its own by the nonce.
func EncodeRegisterSession(nonce []byte, nodeID uint64) []byte {
	data := append(make([]byte, 0, 1+uvarintLen(nodeID)+len(nonce)), byte(KindRegisterSession))
	data = binary.AppendUvarint(data, nodeID)
	return append(data, nonce...)
}

// EncodeExpireSession returns the entry that removes a client session.
func EncodeExpireSession(sessionID uint64) []byte {
	data := append(make([]byte, 0, 1+uvarintLen(sessionID)), byte(KindExpireSession))
	return binary.AppendUvarint(data, sessionID)
}

// Entry is a decoded entry. Payload aliases the bytes it was decoded from.
type Entry struct {
	Kind EntryKind
	// SessionID, Sequence, LowestOutstanding of a command or barrier; SessionID of an expireSession.
	SessionID         uint64
	Sequence          uint64
	LowestOutstanding uint64
	// NodeID of a registerSession.
	NodeID uint64
	// Payload is the command, the nonce of a registerSession, or a marshalled configuration.
	Payload []byte
}

// KindOf returns the kind of an entry by its first byte, 0 for an unknown one.
func KindOf(data []byte) EntryKind {
	if len(data) == 0 || data[0] < byte(KindCommand) || data[0] > byte(KindBarrier) {
		return 0
	}
	return EntryKind(data[0])
}

// DecodeEntry decodes an entry without an allocation. It does not check the bytes of a
// configuration; see DecodeConfiguration.
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

// DecodeConfiguration decodes an entry that must be a configuration.
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
		return fmt.Errorf("decode entry: empty: %w", ErrMalformedEntry)
	}
	return fmt.Errorf("decode entry: unknown kind %d: %w", data[0], ErrMalformedEntry)
}

// cutUvarint decodes a uvarint in its shortest form at the beginning of data.
func cutUvarint(data []byte) (value uint64, rest []byte, ok bool) {
	value, n := binary.Uvarint(data)
	if n <= 0 || n != uvarintLen(value) {
		return 0, nil, false
	}
	return value, data[n:], true
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }
