package live

import (
	crypto "crypto/rand"
	"encoding/binary"
	"math/rand/v2"
	"sync"
)

// lockedRandom is the random generator of all actors of a node, seeded by the operating system.
type lockedRandom struct {
	mu        sync.Mutex
	generator *rand.Rand // guarded by mu
}

func newLockedRandom() *lockedRandom {
	var seed [16]byte
	crypto.Read(seed[:]) // never fails: without randomness the process ends
	return &lockedRandom{generator: rand.New(rand.NewPCG(
		binary.LittleEndian.Uint64(seed[:8]), binary.LittleEndian.Uint64(seed[8:])))}
}

func (r *lockedRandom) Int64N(n int64) int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generator.Int64N(n)
}

func (r *lockedRandom) Uint64() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.generator.Uint64()
}
