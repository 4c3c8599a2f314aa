package procs

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
)

// keptOutput is how much of what a process wrote is kept in memory, for messages of failed tests.
const keptOutput = 64 << 10

// output takes what a process writes: into a file, into a bounded memory, and past those who wait
// for a text.
//
// Invariant: a text is looked for in whole lines, so that it is found however the process's writes
// are cut up.
type output struct {
	mu      sync.Mutex
	file    *os.File // nil: none
	kept    []byte   // the last whole lines and the begun one
	begun   []byte   // the line not ended yet
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
		return nil, fmt.Errorf("opening a log for the output of a process: %w", err)
	}
	return &output{file: file}, nil
}

// Write implements io.Writer. It never fails: a process must not end because its log could not be
// written.
func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.file != nil {
		_, _ = o.file.Write(p)
	}
	o.kept = append(o.kept, p...)
	if excess := len(o.kept) - keptOutput; excess > 0 {
		o.kept = append(o.kept[:0], o.kept[excess:]...)
	}
	o.begun = append(o.begun, p...)
	for {
		end := bytes.IndexByte(o.begun, '\n')
		if end < 0 {
			return len(p), nil
		}
		o.notifyWaiters(string(o.begun[:end]))
		o.begun = o.begun[end+1:]
	}
}

func (o *output) notifyWaiters(line string) {
	still := o.waiting[:0]
	for _, w := range o.waiting {
		if strings.Contains(line, w.text) {
			close(w.seen)
			continue
		}
		still = append(still, w)
	}
	o.waiting = still
}

// notify returns a channel that is closed once text was written, which may have happened already.
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
	if len(o.begun) > 0 { // a last line without an end
		o.notifyWaiters(string(o.begun))
		o.begun = nil
	}
	if o.file == nil {
		return nil
	}
	return o.file.Close()
}
