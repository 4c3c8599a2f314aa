package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/troupe-raft/troupe/internal/sim/trace"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// traceFile is the file for a recorded history. It gets its name only when it is complete. An
// unwritable place is reported before any world runs.
type traceFile struct {
	name string
	file *os.File
}

func createTrace(name string) (*traceFile, error) {
	if is, err := os.Stat(name); err == nil && is.IsDir() {
		return nil, fmt.Errorf("--trace %s: it is a folder; name a file in it", name)
	}
	f, err := os.CreateTemp(filepath.Dir(name), ".troupe-sim-*")
	if err != nil {
		return nil, fmt.Errorf("--trace %s: its folder cannot be written to: %w", name, errors.Unwrap(err))
	}
	return &traceFile{name, f}, nil
}

// discard removes an unfinished file.
func (t *traceFile) discard() {
	t.file.Close()
	os.Remove(t.file.Name())
}

// record runs a history again and writes it down. It must be the same history.
func (t *traceFile) record(s *target, played *world.Result) error {
	w := trace.NewWriter(t.file)
	o := played.Options
	o.Recorder = w
	again := recoverPanics(s.run, o)
	if err := w.Close(); err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	if again.Hash != played.Hash || again.Steps != played.Steps {
		return &exitError{exitFailed, fmt.Errorf("--trace: run again, seed %d is another history (%016x after %d steps, was %016x after %d): the simulator is not deterministic",
			o.Seed, again.Hash, again.Steps, played.Hash, played.Steps)}
	}
	if err := t.file.Chmod(0o644); err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	if err := t.file.Close(); err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	if err := os.Rename(t.file.Name(), t.name); err != nil {
		return fmt.Errorf("--trace: %w", err)
	}
	return nil
}
