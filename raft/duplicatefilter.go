package raft

// DuplicateFilter recognises copies of messages that a network delivers twice, late, or after newer
// ones, and records what was decided about each message. Each incarnation of the sender chooses a
// stream at random and numbers its messages from 1.
//
// The network may also deliver a message of an incarnation after those of the next. So streams have
// no order and a new one does not end another: the filter has a window for each of the last four.
//
// The zero value has accepted nothing.
type DuplicateFilter struct {
	streams [4]replayWindow // the one used last is first
}

// ForwardWindow is the number of messages of a stream that a DuplicateFilter remembers. A sender
// that repeats messages must not have a message undecided that is further behind its newest one.
const ForwardWindow = 64

// replayWindow records which of the last 64 numbers of a stream were accepted, and which of them
// were refused afterwards. Lower ones count as accepted.
//
//	number  … 5 6 │ 7  8  9 … 70 = highest
//	bit           │ 63 62 61 … 0
type replayWindow struct {
	stream, highest   uint64
	accepted, refused uint64 // bit k: highest-k was
}

// Accept reports whether this is the first message with this stream and number, and records it.
func (f *DuplicateFilter) Accept(stream, number uint64) bool {
	return f.window(stream).accept(number)
}

// Refuse records that an accepted message was refused.
func (f *DuplicateFilter) Refuse(stream, number uint64) {
	if w := f.window(stream); number <= w.highest && w.highest-number < ForwardWindow {
		w.refused |= 1 << (w.highest - number)
	}
}

// IsRefused reports whether a message was refused.
func (f *DuplicateFilter) IsRefused(stream, number uint64) bool {
	w := f.window(stream)
	return number <= w.highest && w.highest-number < ForwardWindow && w.refused&(1<<(w.highest-number)) != 0
}

// Taken returns the stream that was used last, its highest number, and the numbers that were
// accepted and not refused: bit k is for highest-k. All are 0 before the first message.
func (f *DuplicateFilter) Taken() (stream, highest, taken uint64) {
	w := &f.streams[0]
	return w.stream, w.highest, w.accepted &^ w.refused
}

// window returns the window of a stream, and puts it first.
func (f *DuplicateFilter) window(stream uint64) *replayWindow {
	at := 0
	for at < len(f.streams)-1 && f.streams[at].stream != stream {
		at++
	}
	found := f.streams[at]
	if found.stream != stream {
		found = replayWindow{stream: stream}
	}
	copy(f.streams[1:], f.streams[:at])
	f.streams[0] = found
	return &f.streams[0]
}

func (w *replayWindow) accept(number uint64) bool {
	if number > w.highest {
		w.accepted <<= number - w.highest // a shift by 64 or more leaves 0
		w.refused <<= number - w.highest
		w.accepted |= 1
		w.highest = number
		return true
	}
	back := w.highest - number
	if back >= ForwardWindow || w.accepted&(1<<back) != 0 {
		return false
	}
	w.accepted |= 1 << back
	return true
}
