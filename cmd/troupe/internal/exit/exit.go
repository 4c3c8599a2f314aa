// Package exit defines the exit codes of the troupe command. A process supervisor (systemd, a
// script, troupe demo) decides by the code whether a restart can help: after Usage, DataDir,
// Certificate and Replaced an operator must act first. docs/operations.md has the same table.
package exit

import (
	"errors"
	"strings"
)

// Code is the exit code of a process.
type Code int

const (
	// OK: the command succeeded, or a signal stopped the server.
	OK Code = 0
	// Failure: a client command failed, for instance because no member was reached.
	Failure Code = 1
	// Usage: a flag, an argument, an environment variable or their combination is wrong. Nothing was
	// changed.
	Usage Code = 2
	// DataDir: the data directory is in use, belongs to another member or cluster, cannot be read, or
	// is damaged.
	DataDir Code = 3
	// Address: a listener could not be opened.
	Address Code = 4
	// Storage: the disk failed, is full or is read-only. A restart succeeds once it accepts writes.
	Storage Code = 5
	// Certificate: a TLS certificate, key or CA cannot be used.
	Certificate Code = 6
	// Stopped: the server stopped for another reason; its last line states it.
	Stopped Code = 7
	// Replaced: this data directory and those of other members contradict each other, because one was
	// lost or replaced: the others refuse this one, or lost writes that it holds, or a member voted
	// twice. A restart cannot help, and may hide it.
	Replaced Code = 8
	// Forced: a second signal arrived before the server had stopped.
	Forced Code = 130
)

// Error is an error with the exit code of the process.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// With returns err with a code, or nil for a nil err. An error that has a code already keeps it:
// the code that is closest to the fault is the most precise.
func With(code Code, err error) error {
	if err == nil {
		return nil
	}
	var known *Error
	if errors.As(err, &known) {
		return err
	}
	return &Error{Code: code, Err: err}
}

// CodeOf returns the exit code for err: OK for nil, Failure for an error without a code.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var known *Error
	if errors.As(err, &known) {
		return known.Code
	}
	return Failure
}

// Line returns the text of err in one line, so that grep finds it and a journal keeps it together.
func Line(err error) string {
	lines := strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
	kept := lines[:0]
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "; ")
}
