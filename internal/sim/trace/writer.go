package trace

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Writer writes a trace during a run. The first error ends the writing; Close returns it. The run
// continues.
type Writer struct {
	buffer  *bufio.Writer
	encoder *json.Encoder
	last    Event
	err     error
}

// NewWriter returns a Writer. Close must be called at the end; it does not close w.
func NewWriter(w io.Writer) *Writer {
	buffer := bufio.NewWriterSize(w, 64<<10)
	encoder := json.NewEncoder(buffer)
	encoder.SetEscapeHTML(false)
	return &Writer{buffer: buffer, encoder: encoder}
}

// Begin writes the header.
func (w *Writer) Begin(h Header) {
	h.Format, h.Version = Format, Version
	w.write(h)
}

// Record writes one event.
func (w *Writer) Record(e *Event) {
	w.last = Event{Step: e.Step, At: e.At, Kind: End}
	w.write(e)
}

func (w *Writer) write(line any) {
	if w.err != nil {
		return
	}
	if err := w.encoder.Encode(line); err != nil {
		w.err = fmt.Errorf("write a trace: %w", err)
	}
}

// Close writes the last line, and returns the first error.
func (w *Writer) Close() error {
	w.last.Kind = End
	w.write(&w.last)
	if w.err == nil {
		if err := w.buffer.Flush(); err != nil {
			w.err = fmt.Errorf("write a trace: %w", err)
		}
	}
	err := w.err
	if w.err == nil {
		w.err = errors.New("write a trace: it is closed")
	}
	return err
}
