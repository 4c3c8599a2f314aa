package sim

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
)

// Op is what a client asks of the key-value store.
type Op uint8

// The writes, and then the reads by mode.
const (
	Put            Op = iota // sets a key's value
	Append                   // lengthens it: an effect that is lost, doubled or out of order shows for ever
	CompareAndSwap           // sets it if it is what is expected
	Delete
	GetLog    // reads through the log, as a barrier
	GetIndex  // ReadIndex, at any member
	GetLease  // by lease; as ReadIndex while no leader has one
	GetLeader // what the leader has, which may be one of the past
	GetLocal  // what this member has

	opKinds = iota
)

var opNames = [opKinds]string{"put", "append", "compare-and-swap", "delete", "get-log", "get-index", "get-lease", "get-leader", "get-local"}

func (o Op) String() string { return opNames[o] }

// Writes tells a write from a read.
func (o Op) Writes() bool { return o < GetLog }

// Linearizable tells whether it must take effect between its call and its return.
func (o Op) Linearizable() bool { return o < GetLeader }

// command is a write as the log carries it. Its number is like no other's in the world.
type command struct {
	kind          Op
	number        uint64
	key           uint32
	expect, value string
	padding       int // bytes that mean nothing, so that commands differ in size
}

func (c *command) encode() []byte {
	b := make([]byte, 0, 17+len(c.expect)+len(c.value)+c.padding)
	b = append(b, byte(c.kind))
	b = binary.LittleEndian.AppendUint64(b, c.number)
	b = binary.LittleEndian.AppendUint32(b, c.key)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.expect)))
	b = append(b, c.expect...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(c.value)))
	b = append(b, c.value...)
	return append(b, make([]byte, c.padding)...)
}

func decodeCommand(b []byte) command {
	c := command{kind: Op(b[0]), number: binary.LittleEndian.Uint64(b[1:]), key: binary.LittleEndian.Uint32(b[9:])}
	b = b[13:]
	n := binary.LittleEndian.Uint16(b)
	c.expect, b = string(b[2:2+n]), b[2+n:]
	n = binary.LittleEndian.Uint16(b)
	c.value = string(b[2 : 2+n])
	return c
}

// result is what a write returns: what was there before it, so that the answer alone tells much of the order, and for a
// compare-and-swap whether it swapped.
type result struct {
	number  uint64
	swapped bool
	before  string
}

func (r *result) encode() []byte {
	b := make([]byte, 0, 9+len(r.before))
	b = binary.LittleEndian.AppendUint64(b, r.number)
	if r.swapped {
		b = append(b, 1)
	} else {
		b = append(b, 0)
	}
	return append(b, r.before...)
}

func decodeResult(b []byte) (result, error) {
	if len(b) < 9 {
		return result{}, fmt.Errorf("a result of %d bytes", len(b))
	}
	return result{number: binary.LittleEndian.Uint64(b), swapped: b[8] == 1, before: string(b[9:])}, nil
}

// perform is the store's rule: what a write makes of a value. No value is the empty one.
func applyWrite(kind Op, before, expect, value string) (after string, swapped bool) {
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

// contents is what the store holds.
type kvContents map[uint32]string

func (c kvContents) set(key uint32, value string) {
	if value == "" {
		delete(c, key)
	} else {
		c[key] = value
	}
}

// differs describes the first few keys in which two stores are not equal; "" if they are.
func (c kvContents) diff(other kvContents) string {
	keys := make([]uint32, 0, len(c)+len(other))
	for _, one := range []kvContents{c, other} {
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
