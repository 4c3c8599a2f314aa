package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/internal/sim/explain"
)

// explainFlags are the flags for showing a trace.
type explainFlags struct {
	file, html string
	from, to   string
	only       []string
	all        bool
	width      int
}

func (f *explainFlags) add(cmd *cobra.Command) {
	s := cmd.Flags()
	s.StringVar(&f.file, "explain", "", "show a trace: time downwards, a column a member, messages as arrows")
	s.StringVar(&f.html, "html", "", "with --explain: write a page with a space-time diagram to this file instead")
	s.StringVar(&f.from, "from", "", "with --explain: begin at a step (1200) or a virtual time (3.5s)")
	s.StringVar(&f.to, "to", "", "with --explain: end at a step or a virtual time")
	s.StringSliceVar(&f.only, "only", nil, "with --explain: only these kinds of event and names of messages")
	s.BoolVar(&f.all, "all", false, "leave nothing out: of a trace, heartbeats and messages within nodes; of a failure, any of its last steps")
	s.IntVar(&f.width, "width", columns(), "with --explain: columns to write in")
}

// A narrower listing has no room for its texts.
const minWidth, maxWidth = 60, 1000

// columns returns the width of the terminal, if the shell exports it.
func columns() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= minWidth {
		return min(n, maxWidth)
	}
	return 120
}

// do shows the trace.
func (f *explainFlags) do(cmd *cobra.Command) error {
	if f.width < minWidth || f.width > maxWidth {
		return usage("--width is %d: it must be from %d to %d", f.width, minWidth, maxWidth)
	}
	o := explain.Options{Only: f.only, Heartbeats: f.all, Actors: f.all, Width: f.width}
	var err error
	if o.FromStep, o.From, err = moment("--from", f.from); err != nil {
		return err
	}
	if o.ToStep, o.To, err = moment("--to", f.to); err != nil {
		return err
	}
	if f.html != "" && sameFile(f.html, f.file) {
		return usage("--html %s is the trace itself: the page would replace it", f.html)
	}
	in, closed, err := f.open(o)
	if err != nil {
		return err
	}
	defer closed()
	if f.html == "" {
		err = explain.Text(cmd.OutOrStdout(), in, o)
	} else {
		err = writePage(f.html, in, o)
	}
	switch {
	case errors.Is(err, explain.ErrNothing):
		return usage("--explain %s: %w", f.file, err)
	case err != nil:
		return fmt.Errorf("--explain %s: %w", f.file, err)
	}
	if f.html != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is written: open it in a browser\n", f.html)
	}
	return nil
}

// open opens the trace. Options that would show nothing of it are an error before anything is
// shown.
func (f *explainFlags) open(o explain.Options) (in io.Reader, closed func() error, err error) {
	file, err := os.Open(f.file)
	if err != nil {
		return nil, nil, fmt.Errorf("--explain: %w", err)
	}
	if f.from == "" && f.to == "" && len(f.only) == 0 {
		return file, file.Close, nil
	}
	defer func() {
		if err != nil {
			file.Close()
		}
	}()
	var again io.ReadSeeker = file
	if _, err := file.Seek(0, io.SeekStart); err != nil { // a pipe can be read once
		all, err := io.ReadAll(file)
		if err != nil {
			return nil, nil, fmt.Errorf("--explain %s: %w", f.file, err)
		}
		again = bytes.NewReader(all)
	}
	has, err := explain.ReadContents(again)
	if err != nil {
		return nil, nil, fmt.Errorf("--explain %s: %w", f.file, err)
	}
	if err := f.check(o, has); err != nil {
		return nil, nil, err
	}
	if _, err := again.Seek(0, io.SeekStart); err != nil {
		return nil, nil, fmt.Errorf("--explain %s: %w", f.file, err)
	}
	return again, file.Close, nil
}

// check compares the options with the contents of the trace.
func (f *explainFlags) check(o explain.Options, has *explain.Contents) error {
	for _, word := range f.only {
		if !has.Has(word) {
			return usage("--only: nothing in %s is called %q%s; its kinds of event are %s; its messages, faults and operations are %s", f.file, word,
				didYouMean(word, append(slices.Clone(has.Kinds), has.Names...)), strings.Join(has.Kinds, ", "), strings.Join(has.Names, ", "))
		}
	}
	between := fmt.Sprintf("%s goes from step %d to %d, from %v to %v", f.file, has.FirstStep, has.LastStep, has.First, has.Last)
	switch {
	case o.FromStep > has.LastStep || o.From > has.Last:
		return usage("--from %s is behind the end: %s", f.from, between)
	case f.to != "" && o.ToStep == 0 && o.To == 0:
		return usage("--to is %s: nothing is before it; %s", f.to, between)
	case o.ToStep > 0 && o.ToStep < has.FirstStep || o.To > 0 && o.To < has.First:
		return usage("--to %s is before the beginning: %s", f.to, between)
	case o.ToStep > 0 && o.ToStep < o.FromStep || o.To > 0 && o.To < o.From:
		return usage("--from %s is behind --to %s: nothing is in between; %s", f.from, f.to, between)
	}
	return nil
}

// writePage touches the file only when the page is complete.
func writePage(name string, in io.Reader, o explain.Options) error {
	var page bytes.Buffer
	if err := explain.HTML(&page, in, o); err != nil {
		return err
	}
	if err := os.WriteFile(name, page.Bytes(), 0o644); err != nil {
		return fmt.Errorf("--html: %w", err)
	}
	return nil
}

// sameFile reports whether two names, which need not exist, are of one file.
func sameFile(a, b string) bool {
	first, err := os.Stat(a)
	second, otherErr := os.Stat(b)
	return err == nil && otherErr == nil && os.SameFile(first, second)
}

// moment parses a step or a virtual time.
func moment(flag, text string) (step int, at time.Duration, err error) {
	if text == "" {
		return 0, 0, nil
	}
	if step, err = strconv.Atoi(text); err == nil && step >= 0 {
		return step, 0, nil
	}
	if at, err = time.ParseDuration(text); err == nil && at >= 0 {
		return 0, at, nil
	}
	return 0, 0, usage("%s is %q: use a step (1200) or a virtual time (3.5s)", flag, text)
}
