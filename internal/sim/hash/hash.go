// Package hash has the hash functions of the simulator. They are fast, the same on every machine,
// and resist no attacker.
package hash

import (
	"encoding/binary"
	"hash/crc32"
	"math/bits"
)

const (
	seed  = 0x9e3779b97f4a7c15
	prime = 0xd6e8feb86659fd93
)

// Fold returns the hash h extended by v.
func Fold(h, v uint64) uint64 {
	high, low := bits.Mul64(h^v^seed, prime)
	return bits.RotateLeft64(h, 23) ^ high ^ low
}

// Bytes returns the hash of data.
func Bytes(data []byte) uint64 {
	h := uint64(len(data))
	for ; len(data) >= 8; data = data[8:] {
		h = Fold(h, binary.LittleEndian.Uint64(data))
	}
	var rest [8]byte
	copy(rest[:], data)
	return Fold(h, binary.LittleEndian.Uint64(rest[:]))
}

// String returns the hash of s. It differs from that of Bytes.
func String(s string) uint64 {
	h := uint64(len(s))
	for i := range len(s) {
		h = Fold(h, uint64(s[i]))
	}
	return h
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Checksum returns the CRC-32C of data, as the log's files have it.
func Checksum(data []byte) uint32 { return crc32.Checksum(data, castagnoli) }
