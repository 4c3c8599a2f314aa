package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/troupe-raft/troupe/internal/sim/world"
)

// report is the summary as JSON. Fields may be added, and are not renamed.
type report struct {
	Seeds            string   `json:"seeds"`
	Targets          []string `json:"subjects"`
	Histories        int      `json:"histories"`
	Requested        int      `json:"asked"`
	Workers          int      `json:"workers"`
	Steps            int      `json:"steps"`
	Handled          int      `json:"handled"`
	HandledPerSecond int      `json:"handledPerSecond"`
	VirtualSeconds   float64  `json:"virtualSeconds"`
	RealSeconds      float64  `json:"realSeconds"`
	// Counts are by row and name, as in the table.
	Counts   map[string]map[string]int `json:"counts"`
	Failures []reported                `json:"failures"`
	Shrunk   *reported                 `json:"shrunk,omitempty"`
	Hashes   []hashed                  `json:"hashes,omitempty"`
}

type reported struct {
	Seed      uint64  `json:"seed"`
	Target    string  `json:"subject"`
	Members   int     `json:"members"`
	Invariant string  `json:"invariant"`
	Text      string  `json:"text"`
	Step      int     `json:"step"`
	AtSeconds float64 `json:"atSeconds"`
	Replay    string  `json:"replay"`
}

type hashed struct {
	Seed   uint64 `json:"seed"`
	Target string `json:"subject"`
	Hash   string `json:"hash"` // as text: JSON's numbers are exact up to 2^53
	Steps  int    `json:"steps"`
}

func reportOf(s *target, r *world.Result) *reported {
	f := r.Failure
	return &reported{
		Seed: r.Options.Seed, Target: s.nameOf(r), Members: r.Nodes, Invariant: f.Invariant, Text: f.Text, Step: f.Step,
		AtSeconds: f.At.Seconds(), Replay: s.command(r.Options),
	}
}

func (s *summary) writeJSON(out io.Writer, hashes bool, smaller *shrunk) error {
	r := report{
		Seeds: s.seeds().String(), Histories: s.histories, Requested: s.campaign.jobs(), Workers: s.campaign.workers,
		Steps: s.steps, Handled: s.counts.Handled, HandledPerSecond: perSecond(s.counts.Handled, s.took),
		VirtualSeconds: s.virtual.Seconds(), RealSeconds: s.took.Seconds(),
		Counts: map[string]map[string]int{}, Failures: []reported{},
	}
	for _, sub := range s.campaign.targets {
		r.Targets = append(r.Targets, sub.name)
	}
	for _, g := range groups(&s.counts) {
		r.Counts[g.name] = map[string]int{}
		for _, f := range g.fields {
			r.Counts[g.name][f.name] = f.n
		}
	}
	for _, o := range s.outcomes {
		if o.result.Failure != nil {
			r.Failures = append(r.Failures, *reportOf(o.target, o.result))
		}
		if hashes {
			r.Hashes = append(r.Hashes, hashed{o.seed, o.target.name, fmt.Sprintf("%016x", o.result.Hash), o.result.Steps})
		}
	}
	if smaller != nil {
		r.Shrunk = reportOf(s.firstFailure().target, smaller.result)
	}
	e := json.NewEncoder(out)
	e.SetIndent("", "  ")
	if err := e.Encode(r); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}
