package sim

import (
	"encoding/binary"
	"math/bits"
)

// The hash over a history need not withstand anybody; it must be fast and the same everywhere.

const (
	hashSeed  = 0x9e3779b97f4a7c15
	hashPrime = 0xd6e8feb86659fd93
)

func fold(h, v uint64) uint64 {
	high, low := bits.Mul64(h^v^hashSeed, hashPrime)
	return bits.RotateLeft64(h, 23) ^ high ^ low
}

func hashBytes(data []byte) uint64 {
	h := uint64(len(data))
	for ; len(data) >= 8; data = data[8:] {
		h = fold(h, binary.LittleEndian.Uint64(data))
	}
	var rest [8]byte
	copy(rest[:], data)
	return fold(h, binary.LittleEndian.Uint64(rest[:]))
}

func hashString(s string) uint64 {
	h := uint64(len(s))
	for i := range len(s) {
		h = fold(h, uint64(s[i]))
	}
	return h
}

// mix takes a few numbers into the hash.
func (c *eventLog) mix(all ...uint64) {
	for _, v := range all {
		c.hash = fold(c.hash, v)
	}
}
