package main

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"
)

// seedRange is the seeds first, first+1, …
type seedRange struct {
	first uint64
	count int
	fresh bool // first was drawn, not given
}

func (r seedRange) String() string {
	if r.count == maxSeeds {
		return fmt.Sprintf("%d and on", r.first)
	}
	if r.count == 1 {
		return strconv.FormatUint(r.first, 10)
	}
	return fmt.Sprintf("%d..%d", r.first, r.first+uint64(r.count)-1)
}

// maxSeeds refuses typing errors such as 1..10000000000.
const maxSeeds = 1 << 30

// parseSeeds reads "N", "A..B" (both included), "fresh:N", and "fresh" for as many as time allows.
func parseSeeds(text string) (seedRange, error) {
	const forms = "use N, A..B or fresh:N"
	if text == "fresh" {
		return seedRange{freshSeed(), maxSeeds, true}, nil
	}
	if n, ok := strings.CutPrefix(text, "fresh:"); ok {
		count, err := strconv.Atoi(n)
		if err != nil || count < 1 || count > maxSeeds {
			return seedRange{}, usage("--seeds %s: %q is not a number of seeds; %s", text, n, forms)
		}
		return seedRange{freshSeed(), count, true}, nil
	}
	from, to, isRange := strings.Cut(text, "..")
	if !isRange {
		to = from
	}
	a, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return seedRange{}, usage("--seeds %s: %q is not a seed; %s", text, from, forms)
	}
	b, err := strconv.ParseUint(to, 10, 64)
	if err != nil {
		return seedRange{}, usage("--seeds %s: %q is not a seed; %s", text, to, forms)
	}
	if b < a {
		return seedRange{}, usage("--seeds %s: the last seed is below the first; try %d..%d", text, b, a)
	}
	if b-a >= maxSeeds {
		return seedRange{}, usage("--seeds %s: more than %d seeds at once", text, maxSeeds)
	}
	return seedRange{first: a, count: int(b-a) + 1}, nil
}

// freshSeed draws a seed, the only random choice of the command. It is printed.
func freshSeed() uint64 {
	var b [8]byte
	rand.Read(b[:]) // never fails: it ends the process instead
	return binary.LittleEndian.Uint64(b[:]) % 1e12
}
