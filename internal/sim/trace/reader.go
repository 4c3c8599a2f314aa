package trace

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
)

// ErrNotTrace reports that a file is no trace, or one of an unknown version.
var ErrNotTrace = errors.New("not a trace that can be read here")

// DamagedError reports that a trace is damaged from a line on.
type DamagedError struct {
	Line int // from 1, which is the header
	Err  error
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("the trace is damaged at line %d: %v", e.Line, e.Err)
}

func (e *DamagedError) Unwrap() error { return e.Err }

// Reader reads a trace line by line, in memory bounded by MaxLineBytes.
type Reader struct {
	header Header
	lines  *bufio.Reader
	line   int
	step   int
	at     time.Duration
	ended  bool
}

// NewReader reads the header.
func NewReader(r io.Reader) (*Reader, error) {
	reader := &Reader{lines: bufio.NewReaderSize(r, 64<<10)}
	line, err := reader.next()
	if err != nil {
		if err == io.EOF {
			return nil, fmt.Errorf("%w: it is empty", ErrNotTrace)
		}
		if errors.As(err, new(*DamagedError)) {
			return nil, fmt.Errorf("%w: its first line is no header", ErrNotTrace)
		}
		return nil, err
	}
	h := &reader.header
	if err := json.Unmarshal(line, h); err != nil || h.Format != Format {
		return nil, fmt.Errorf("%w: its first line is no header", ErrNotTrace)
	}
	if h.Version != Version {
		return nil, fmt.Errorf("%w: it is of version %d, this program reads version %d; record the run again, "+
			"or show the trace with the program that wrote it", ErrNotTrace, h.Version, Version)
	}
	if h.Nodes < 1 || h.Nodes > MaxMembers {
		return nil, &DamagedError{Line: 1, Err: fmt.Errorf("%d nodes; there may be 1 to %d", h.Nodes, MaxMembers)}
	}
	return reader, nil
}

// Header returns the first line.
func (r *Reader) Header() Header { return r.header }

// Complete reports, once Next has returned io.EOF, whether the trace was written to its end.
func (r *Reader) Complete() bool { return r.ended }

// Next returns the next event, io.EOF at the end. Any other error is final: what follows cannot be
// trusted.
func (r *Reader) Next() (*Event, error) {
	line, err := r.next()
	if err != nil {
		return nil, err
	}
	if r.ended {
		return nil, r.damaged(errors.New("something follows its end"))
	}
	var e Event
	if err := json.Unmarshal(line, &e); err != nil {
		return nil, r.damaged(err)
	}
	if err := r.check(&e); err != nil {
		return nil, r.damaged(err)
	}
	r.step, r.at = e.Step, e.At
	if e.Kind == End {
		r.ended = true
		return r.Next()
	}
	return &e, nil
}

func (r *Reader) damaged(err error) error { return &DamagedError{Line: r.line, Err: err} }

// next returns the next line without its end, which a last line may lack. A half-written last line
// is damage like any other.
func (r *Reader) next() ([]byte, error) {
	var line []byte
	for {
		piece, err := r.lines.ReadSlice('\n')
		if len(line) == 0 && len(piece) == 0 && err != nil {
			return nil, r.readError(err)
		}
		line = append(line, piece...)
		if len(line) > MaxLineBytes {
			r.line++
			return nil, r.damaged(fmt.Errorf("it is longer than %d bytes", MaxLineBytes))
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil && err != io.EOF {
			return nil, r.readError(err)
		}
		r.line++
		return bytes.TrimRight(line, "\r\n"), nil
	}
}

func (r *Reader) readError(err error) error {
	if err == io.EOF {
		return io.EOF
	}
	return fmt.Errorf("read a trace: %w", err)
}

// check refuses events that would make a reader of the trace fail.
func (r *Reader) check(e *Event) error {
	switch {
	case !kinds[e.Kind]:
		return fmt.Errorf("there is no kind of event called %q", e.Kind)
	case e.Member > MaxMembers || e.Peer > MaxMembers:
		return fmt.Errorf("members %d and %d; there may be %d", e.Member, e.Peer, MaxMembers)
	case e.Step < r.step || e.At < r.at:
		return fmt.Errorf("step %d at %v follows step %d at %v", e.Step, e.At, r.step, r.at)
	case e.Kind == StateChanged && e.State == nil:
		return errors.New("a change of state without the state")
	case e.Kind == LogChanged && e.Log == nil:
		return errors.New("a change of a log without the change")
	case e.Member == 0 && hasMember(e.Kind):
		return fmt.Errorf("an event of kind %q without a member", e.Kind)
	case e.Peer == 0 && hasPeer(e.Kind):
		return fmt.Errorf("an event of kind %q without a peer", e.Kind)
	}
	if e.Log != nil {
		return e.Log.check()
	}
	return nil
}

func hasMember(k Kind) bool {
	switch k {
	case FaultInjected, Note, Violated, End:
		return false
	}
	return true
}

func hasPeer(k Kind) bool {
	switch k {
	case Sent, Arrived, Lost, Duplicated, CutOff, Healed:
		return true
	}
	return false
}

func (l *Log) check() error {
	if l.From == 0 || l.Last > MaxIndex || l.Last < l.From-1 {
		return fmt.Errorf("a log's change from %d to %d", l.From, l.Last)
	}
	if l.Last >= l.From && (len(l.Runs) == 0 || l.Runs[0].First != l.From) {
		return fmt.Errorf("a log's change from %d to %d whose first run does not begin there", l.From, l.Last)
	}
	if uint64(len(l.Texts)) > l.Last-l.From+1 {
		return fmt.Errorf("a log's change from %d to %d with words for %d entries", l.From, l.Last, len(l.Texts))
	}
	for i, run := range l.Runs {
		if run.First > l.Last || i > 0 && (run.First <= l.Runs[i-1].First || run.Term <= l.Runs[i-1].Term) {
			return fmt.Errorf("a log's change whose runs %v do not ascend up to %d", l.Runs, l.Last)
		}
	}
	return nil
}
