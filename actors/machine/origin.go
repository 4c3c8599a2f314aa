package machine

// origin is what is known of one handle's life. See ledger.
type origin struct {
	id        uint64
	node      uint64
	nonce     []byte
	lastUsed  uint64 // the index of the last entry that concerned it
	watermark uint64
	floor     uint64
	answers   []answer
	bytes     int      // of the kept values
	room      []answer // the array that answers is a part of
	thin      uint64   // no answer below this sequence has bytes; where to look for one that can give way
}

type answerState byte

const (
	pending answerState = iota // applied in the batch in hand
	kept
	dropped // applied, but the value is gone
)

// answer tells that a sequence was applied, and what came of it.
type answer struct {
	sequence uint64
	index    uint64 // of the entry that took effect
	value    []byte
	command  int // place in the batch while pending
	state    answerState
}

// raise moves the watermark up: the answers below it are not waited for.
func (o *origin) raise(watermark uint64) {
	if watermark <= o.watermark {
		return
	}
	o.watermark = watermark
	o.floor = max(o.floor, watermark)
	n := 0
	for n < len(o.answers) && o.answers[n].sequence < watermark {
		n++
	}
	o.drop(n)
}

// search finds a sequence, or the place where it belongs. Sequences come nearly in order, so it is sought from the end.
func (o *origin) search(sequence uint64) (at int, found bool) {
	low, high := 0, len(o.answers)
	if high > 0 && o.answers[high-1].sequence < sequence {
		return high, false
	}
	for low < high {
		middle := int(uint(low+high) >> 1)
		if o.answers[middle].sequence < sequence {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(o.answers) && o.answers[low].sequence == sequence
}

// insert lists an answer. answers slides through its array: what is dropped at the front leaves room that is taken back
// when the end is reached, so that an origin in the steady state allocates nothing.
func (o *origin) insert(at int, a answer) {
	if n := len(o.answers); n == cap(o.answers) {
		if full, waste := 2*n >= len(o.room), len(o.room) > 1024 && 16*n < len(o.room); full || waste {
			o.room = make([]answer, max(4*n, 16))
		}
		copy(o.room, o.answers)
		clear(o.room[n:])
		o.answers = o.room[:n]
	}
	o.answers = o.answers[:len(o.answers)+1]
	copy(o.answers[at+1:], o.answers[at:])
	o.answers[at] = a
}

// keep gives the answer at a place its value.
func (o *origin) keep(at int, value []byte) {
	a := &o.answers[at]
	a.state, a.value = kept, value
	o.bytes += len(value)
	o.thin = min(o.thin, a.sequence)
}

// giveWay takes the value from the lowest answer that has any bytes. There must be one.
func (o *origin) giveWay() {
	at, _ := o.search(o.thin)
	for len(o.answers[at].value) == 0 {
		at++
	}
	a := &o.answers[at]
	o.bytes -= len(a.value)
	o.thin = a.sequence + 1
	a.state, a.value = dropped, nil
}

// drop forgets the n lowest answers.
func (o *origin) drop(n int) {
	for i := range o.answers[:n] {
		o.bytes -= len(o.answers[i].value)
		o.answers[i].value = nil
	}
	o.answers = o.answers[n:]
}
