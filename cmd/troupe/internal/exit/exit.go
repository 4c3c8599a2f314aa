// Package exit holds the exit codes of the troupe command. A supervisor of processes (systemd, a script, troupe demo) can
// tell by the code alone whether starting again may help: after Usage, DataDir and Certificate a person has to look first. The table stands in docs/operations.md too.
package exit

import (
	"errors"
	"strings"
)

// Code is the exit code of a process.
type Code int

const (
	// OK: done, or stopped because somebody asked for it.
	OK Code = 0
	// Failure: the command failed: no member reachable, a request refused.
	Failure Code = 1
	// Usage: a flag, an argument, an environment variable or the combination of several is wrong. Nothing was touched.
	Usage Code = 2
	// DataDir: the data directory is in use, belongs to another member or cluster, cannot be read, or is damaged.
	DataDir Code = 3
	// Address: an address could not be listened on.
	Address Code = 4
	// Storage: the disk failed, is full, or takes no writes. The same at the next start, until it is mended: then all is well.
	Storage Code = 5
	// Certificate: a TLS certificate, key or CA cannot be used.
	Certificate Code = 6
	// Stopped: the server stopped itself for another reason; its last line says which.
	Stopped Code = 7
	// Forced: a second signal came before the server had stopped cleanly.
	Forced Code = 130
)

// Error is an error that knows which code the process has to end with.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// With gives err a code. An error that has one already keeps it: who saw the fault first knows it best.
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

// CodeOf is the code to end with after err.
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

// Line is err as one line: people grep for it, and journals cut at the line's end.
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
