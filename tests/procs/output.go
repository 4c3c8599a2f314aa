package procs

import (
	"bytes"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
)

// keptOutputBytes is the number of last bytes of a process's output that are kept in memory, for
// the messages of failed tests.
const keptOutputBytes = 64 << 10

// output receives what a process writes. It writes to a file, keeps the last bytes, and notifies
// the waiters of a text. It searches for a text in complete lines, so that it finds the text in
// whatever pieces the process writes it.
type output struct {
	mu      sync.Mutex
	file    *os.File // may be nil
	kept    []byte   // the last keptOutputBytes
	partial []byte   // the begun line
	waiting []waiter
}

type waiter struct {
	text string
	seen chan struct{}
}

func newOutput(path string) (*output, error) {
	if path == "" {
		return &output{}, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log of a process: %w", err)
	}
	return &output{file: file}, nil
}

// Write implements io.Writer. It never fails, so that a process does not end because its log cannot
// be written.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		_, _ = o.file.Write(p)
	}
	o.kept = append(o.kept, p...)
	if excess := len(o.kept) - keptOutputBytes; excess > 0 {
		o.kept = append(o.kept[:0], o.kept[excess:]...)
	}
	o.partial = append(o.partial, p...)
	for {
		end := bytes.IndexByte(o.partial, '\n')
		if end < 0 {
			return len(p), nil
		}
		o.notifyWaiters(string(o.partial[:end]))
		o.partial = o.partial[end+1:]
	}
}

func (o *output) notifyWaiters(line string) {
	o.waiting = slices.DeleteFunc(o.waiting, func(w waiter) bool {
		found := strings.Contains(line, w.text)
		if found {
			close(w.seen)
		}
		return found
	})
}

// notify returns a channel that is closed once the process has written text; at once if the kept
// output contains it.
func (o *output) notify(text string) <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	seen := make(chan struct{})
	if bytes.Contains(o.kept, []byte(text)) {
		close(seen)
		return seen
	}
	o.waiting = append(o.waiting, waiter{text: text, seen: seen})
	return seen
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.kept)
}

func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if len(o.partial) > 0 { // a last line without an end
		o.notifyWaiters(string(o.partial))
		o.partial = nil
	}
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}
