package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/tests/sim/explain"
)

// explainFlags say how a trace is shown.
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
	s.BoolVar(&f.all, "all", false, "with --explain: heartbeats and messages within nodes too")
	s.IntVar(&f.width, "width", columns(), "with --explain: columns to write in")
}

// columns is how wide the terminal is, where the shell says so.
func columns() int {
	if n, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && n >= 60 {
		return n
	}
	return 120
}

// do shows the trace.
func (f *explainFlags) do(cmd *cobra.Command) error {
	o := explain.Options{Only: f.only, Heartbeats: f.all, Actors: f.all, Width: f.width}
	var err error
	if o.FromStep, o.From, err = moment("--from", f.from); err != nil {
		return err
	}
	if o.ToStep, o.To, err = moment("--to", f.to); err != nil {
		return err
	}
	in, err := os.Open(f.file)
	if err != nil {
		return fmt.Errorf("--explain: %w", err)
	}
	defer in.Close()
	if f.html == "" {
		err = explain.Text(cmd.OutOrStdout(), in, o)
	} else {
		err = writePage(f.html, in, o)
	}
	if err != nil {
		return fmt.Errorf("--explain %s: %w", f.file, err)
	}
	if f.html != "" {
		fmt.Fprintf(cmd.OutOrStdout(), "%s is written: open it in a browser\n", f.html)
	}
	return nil
}

func writePage(name string, in io.Reader, o explain.Options) error {
	out, err := os.Create(name)
	if err != nil {
		return err
	}
	err = explain.HTML(out, in, o)
	if closed := out.Close(); err == nil {
		err = closed
	}
	return err
}

// moment is a step or a virtual time.
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
