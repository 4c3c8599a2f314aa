package history

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Op is a kind of operation on the key-value store.
type Op uint8

// The writes, and then the reads by mode.
const (
	Put Op = iota // sets the value of a key
	// Appends to the value: a lost, repeated or reordered append stays visible.
	Append
	CompareAndSwap // sets the value if it is the expected one
	Delete
	GetLog    // reads through the log, as a barrier
	GetIndex  // reads by ReadIndex, at any member
	GetLease  // reads by lease; by ReadIndex while no leader has a lease
	GetLeader // reads what the leader has, without proof that it still leads
	GetLocal  // reads what the member has

	NumOps = iota
)

var opNames = [NumOps]string{"put", "append", "compare-and-swap", "delete", "get-log", "get-index", "get-lease", "get-leader", "get-local"}

func (o Op) String() string { return opNames[o] }

// Writes reports whether the operation is a write.
func (o Op) Writes() bool { return o < GetLog }

// Linearizable reports whether the operation must take effect between its call and its return.
func (o Op) Linearizable() bool { return o < GetLeader }

// Command is a write as the log carries it.
type Command struct {
	Kind          Op
	Number        uint64 // unique in the world
	Key           uint32
	Expect, Value string
	Padding       int // bytes without a meaning, so that commands differ in size
}

// Encode returns the bytes that are proposed.
func (c *Command) Encode() []byte {
	b := make([]byte, 0, 17+len(c.Expect)+len(c.Value)+c.Padding)
	b = append(b, byte(c.Kind))
	b = binary.LittleEndian.AppendUint64(b, c.Number)
	b = binary.LittleEndian.AppendUint32(b, c.Key)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.Expect)))
	b = append(b, c.Expect...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.Value)))
	b = append(b, c.Value...)
	return append(b, make([]byte, c.Padding)...)
}

// DecodeCommand is the inverse of Encode, without the padding.
func DecodeCommand(b []byte) Command {
	c := Command{Kind: Op(b[0]), Number: binary.LittleEndian.Uint64(b[1:]), Key: binary.LittleEndian.Uint32(b[9:])}
	b = b[13:]
	n := binary.LittleEndian.Uint16(b)
	c.Expect, b = string(b[2:2+n]), b[2+n:]
	n = binary.LittleEndian.Uint16(b)
	c.Value = string(b[2 : 2+n])
	return c
}

// IsCommand reports whether DecodeCommand can decode a payload. A script may have written other
// bytes to a disk.
func IsCommand(payload []byte) bool {
	const fixed = 13 // kind, number, key
	if len(payload) < fixed+2 || payload[0] >= NumOps {
		return false
	}
	rest := payload[fixed:]
	for range 2 { // the expected value and the new one
		if len(rest) < 2 || len(rest) < 2+int(binary.LittleEndian.Uint16(rest)) {
			return false
		}
		rest = rest[2+int(binary.LittleEndian.Uint16(rest)):]
	}
	return true
}

// Reply is the result of a write: the value before it, so that a single reply says much about the
// order, and for a compare-and-swap whether it swapped.
type Reply struct {
	Number  uint64
	Swapped bool
	Before  string
}

// Encode returns the bytes that the state machine returns.
func (r *Reply) Encode() []byte {
	b := make([]byte, 0, 9+len(r.Before))
	b = binary.LittleEndian.AppendUint64(b, r.Number)
	if r.Swapped {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return append(b, r.Before...)
}

func decodeReply(b []byte) (Reply, error) {
	if len(b) < 9 {
		return Reply{}, fmt.Errorf("a result of %d bytes", len(b))
	}
	return Reply{Number: binary.LittleEndian.Uint64(b), Swapped: b[8] == 1, Before: string(b[9:])}, nil
}

// ApplyWrite returns the value that a write makes of the value before. A key without a value has
// the empty one.
func ApplyWrite(kind Op, before, expect, value string) (after string, swapped bool) {
	switch kind {
	case Put:
		return value, false
	case Append:
		return before + value, false
	case CompareAndSwap:
		if before == expect {
			return value, true
		}
		return before, false
	default:
		return "", false
	}
}

// State is the state of a state machine after an index.
type State struct {
	Last uint64 // the index
	Hash uint64 // of all commands up to Last, and their results
	Data Contents
}

// Contents are the keys and values of the store.
type Contents map[uint32]string

// Set sets the value of a key; the empty value deletes it.
func (c Contents) Set(key uint32, value string) {
	if value == "" {
		delete(c, key)
	} else {
		c[key] = value
	}
}

// Diff describes the first keys in which two stores differ; "" if they are equal.
func (c Contents) Diff(other Contents) string {
	keys := make([]uint32, 0, len(c)+len(other))
	for _, one := range []Contents{c, other} {
		for key := range one {
			if c[key] != other[key] {
				keys = append(keys, key)
			}
		}
	}
	slices.Sort(keys)
	keys = slices.Compact(keys)
	var b strings.Builder
	for _, key := range keys[:min(len(keys), 3)] {
		fmt.Fprintf(&b, "key %d is %q and %q; ", key, c[key], other[key])
	}
	return b.String()
}
