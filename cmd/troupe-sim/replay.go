package main

import (
	"fmt"
	"strings"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// command returns the command line that runs exactly the history of these options, from the
// repository's root.
func (s *target) command(o world.Options, more ...string) string {
	words := []string{"go run ./cmd/troupe-sim", fmt.Sprintf("--seeds %d", o.Seed)}
	if s.kind == "scenario" {
		words = append(words, "--scenario "+s.name)
	} else {
		words = append(words, worldFlags(o)...)
	}
	return strings.Join(append(words, more...), " ")
}

// nameOf returns the scenario or profile of a result: a shrunk history may have another profile
// than its target.
func (s *target) nameOf(r *world.Result) string {
	if s.kind == "profile" {
		return r.Options.Profile.Name
	}
	return s.name
}

// worldFlags returns the flags for these options, without the seed.
func worldFlags(o world.Options) []string {
	words := []string{"--profile " + o.Profile.Name}
	if o.Nodes != 0 {
		words = append(words, fmt.Sprintf("--nodes %d", o.Nodes))
	}
	if o.Clients != 0 {
		words = append(words, fmt.Sprintf("--clients %d", o.Clients))
	}
	if o.Steps != 0 && o.Steps != world.DefaultSteps {
		words = append(words, fmt.Sprintf("--steps %d", o.Steps))
	}
	if len(o.Without) > 0 {
		words = append(words, "--without "+strings.ReplaceAll(namesOf(o.Without, fault.Kind.String), " ", ""))
	}
	if o.FaultLimit != 0 {
		words = append(words, fmt.Sprintf("--fault-limit %d", o.FaultLimit))
	}
	return words
}
