package main

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/scenario"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// flags are the command line. Those under "the world" determine histories, so a replay command
// needs them all (replay.go); the others determine only what is shown.
type flags struct {
	// The world.
	seeds      string
	profiles   []string
	scenarios  []string
	nodes      int
	clients    int
	steps      int
	without    []string
	faultLimit int
	// The work.
	workers   int
	limit     time.Duration
	keepGoing bool
	excuse    []string
	shrink    bool
	tries     int
	shrinkFor time.Duration
	trace     string
	// What is shown.
	list   bool
	json   bool
	hashes bool
	quiet  bool
	explainFlags
}

func addFlags(cmd *cobra.Command) *flags {
	f := &flags{}
	s := cmd.Flags()
	s.SortFlags = false
	s.StringVar(&f.seeds, "seeds", "1..100", "seeds to run: N, A..B, or fresh:N for N that begin at random; with --for, fresh")
	s.DurationVar(&f.limit, "for", 0, "begin no new world after this time")
	s.StringSliceVar(&f.profiles, "profile", []string{"everything"}, "profiles of faults, or all")
	s.StringSliceVar(&f.scenarios, "scenario", nil, "scenarios instead of profiles, or all")
	s.IntVar(&f.nodes, "nodes", 0, "members of each cluster (default: the seed decides)")
	s.IntVar(&f.clients, "clients", 0, "clients of each cluster (default: the seed decides)")
	s.IntVar(&f.steps, "steps", world.DefaultSteps, "how many steps faults happen")
	s.StringSliceVar(&f.without, "without", nil, "kinds of fault that do not happen")
	s.IntVar(&f.faultLimit, "fault-limit", 0, "how many faults happen at most (default: no limit)")
	s.IntVar(&f.workers, "workers", runtime.NumCPU(), "worlds at a time, each on one goroutine; the results do not depend on it")
	s.BoolVar(&f.keepGoing, "keep-going", false, "continue after a failure")
	s.StringSliceVar(&f.excuse, "excuse", nil, "invariants whose violation is reported and does not change the exit code")
	s.BoolVar(&f.shrink, "shrink", false, "find a smaller history that fails the same way")
	s.IntVar(&f.tries, "shrink-tries", 20, "seeds to try for each smaller world; of a scenario, 50 times as many")
	s.DurationVar(&f.shrinkFor, "shrink-for", time.Minute, "look for smaller histories for no longer than this")
	s.StringVar(&f.trace, "trace", "", "record to this file: the failure, its smaller form with --shrink, or else the first history")
	s.BoolVar(&f.list, "list", false, "list scenarios, profiles, kinds of fault and invariants")
	s.BoolVar(&f.json, "json", false, "print the summary as JSON")
	s.BoolVar(&f.hashes, "hashes", false, "print the hash of every history")
	s.BoolVar(&f.quiet, "quiet", false, "no progress on stderr")
	f.explainFlags.add(cmd)
	return f
}

// do runs the command.
func (f *flags) do(cmd *cobra.Command, t runner) error {
	if err := f.checkTogether(cmd); err != nil {
		return err
	}
	if f.list {
		return list(cmd.OutOrStdout(), t)
	}
	if f.file != "" {
		return f.explainFlags.do(cmd)
	}
	p, err := f.plan(cmd, t)
	if err != nil {
		return err
	}
	return p.execute(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
}

// checkTogether keeps the flags of showing a trace and those of running worlds apart.
func (f *flags) checkTogether(cmd *cobra.Command) error {
	showing := []string{"html", "from", "to", "only", "width"}
	var err error
	if f.list {
		cmd.Flags().Visit(func(flag *pflag.Flag) {
			if err == nil && flag.Name != "list" {
				err = usage("--%s does not go with --list, which runs nothing", flag.Name)
			}
		})
		return err
	}
	cmd.Flags().Visit(func(flag *pflag.Flag) {
		switch shows := slices.Contains(showing, flag.Name); {
		case err != nil:
		case flag.Value.String() == "" || flag.Value.String() == "[]":
			err = usage("--%s is given and empty", flag.Name)
		case flag.Name == "explain" || flag.Name == "all":
		case f.file == "" && shows:
			err = usage("--%s is for showing a trace: name one with --explain FILE", flag.Name)
		case f.file != "" && !shows:
			err = usage("--%s does not go with --explain, which runs nothing", flag.Name)
		}
	})
	return err
}

// plan checks the flags against each other and returns the execution that they ask for.
func (f *flags) plan(cmd *cobra.Command, t runner) (*execution, error) {
	if err := f.checkNumbers(cmd); err != nil {
		return nil, err
	}
	seeds, err := parseSeeds(f.seeds)
	if err != nil {
		return nil, err
	}
	if f.seeds == "fresh" && f.limit == 0 {
		return nil, usage("--seeds fresh has no end: say how many (fresh:1000) or for how long (--for 1m)")
	}
	if cmd.Flags().Changed("for") && f.limit <= 0 {
		return nil, usage("--for is %v: it must be positive", f.limit)
	}
	if f.shrinkFor <= 0 {
		return nil, usage("--shrink-for is %v: it must be positive", f.shrinkFor)
	}
	for _, name := range []string{"shrink-for", "shrink-tries"} {
		if cmd.Flags().Changed(name) && !f.shrink {
			return nil, usage("--%s is for shrinking: it goes with --shrink", name)
		}
	}
	for _, name := range f.excuse {
		if names := invariantNames(); !slices.Contains(names, name) {
			return nil, usage("--excuse: there is no invariant %q%s; \"troupe-sim --list\" lists them all", name, didYouMean(name, names))
		}
	}
	p := &execution{flags: *f, runner: t}
	options := world.Options{Nodes: f.nodes, Clients: f.clients, Steps: f.steps, FaultLimit: f.faultLimit, AllSteps: f.all}
	for _, name := range f.without {
		kind, err := fault.ParseKind(name)
		if err != nil {
			return nil, usage("--without: there is no kind of fault %q%s; there are %s", name, didYouMean(name, faultNames()), strings.Join(faultNames(), ", "))
		}
		options.Without = append(options.Without, kind)
	}
	var subjects []target
	if len(f.scenarios) > 0 {
		for _, name := range []string{"profile", "nodes", "clients", "steps", "without", "fault-limit"} {
			if cmd.Flags().Changed(name) {
				return nil, usage("--%s does not go with --scenario: the script determines members and faults", name)
			}
		}
		subjects, err = t.scenarioTargets(f.scenarios, world.Options{AllSteps: f.all})
	} else {
		subjects, err = t.profileTargets(f.profiles, options)
	}
	if err != nil {
		return nil, err
	}
	p.campaign = &campaign{seeds: seeds, targets: subjects, workers: f.workers, keepGoing: f.keepGoing, ignored: f.excuse, running: make([]atomic.Pointer[job], f.workers)}
	return p, nil
}

func (f *flags) checkNumbers(cmd *cobra.Command) error {
	for _, n := range []struct {
		name     string
		value    int
		low, top int
	}{
		{"nodes", f.nodes, 1, 64}, {"clients", f.clients, 1, 1000}, {"steps", f.steps, 1, 1 << 40},
		{"fault-limit", f.faultLimit, 1, 1 << 40}, {"workers", f.workers, 1, 1024}, {"shrink-tries", f.tries, 1, 1 << 20},
	} {
		if cmd.Flags().Changed(n.name) && (n.value < n.low || n.value > n.top) {
			return usage("--%s is %d: it must be from %d to %d", n.name, n.value, n.low, n.top)
		}
	}
	return nil
}

func (t runner) profileTargets(names []string, options world.Options) (all []target, err error) {
	if slices.Equal(names, []string{"all"}) {
		names = t.profileNames()
	}
	for _, name := range names {
		if name == "all" {
			return nil, usage("--profile %s: all must be the only one", strings.Join(names, ","))
		}
		i := slices.IndexFunc(t.profiles, func(p fault.Profile) bool { return p.Name == name })
		if i < 0 {
			return nil, usage("--profile: there is no %q%s; there are %s, and all", name, didYouMean(name, t.profileNames()), strings.Join(t.profileNames(), ", "))
		}
		o := options
		o.Profile = t.profiles[i]
		all = append(all, target{"profile", name, t.runProfile, o})
	}
	return all, nil
}

func (t runner) scenarioTargets(names []string, options world.Options) (all []target, err error) {
	if slices.Equal(names, []string{"all"}) {
		names = t.scenarioNames()
	}
	for _, name := range names {
		if name == "all" {
			return nil, usage("--scenario %s: all must be the only one", strings.Join(names, ","))
		}
		i := slices.IndexFunc(t.scenarios, func(sc scenario.Scenario) bool { return sc.Name == name })
		if i < 0 {
			return nil, usage("--scenario: there is no %q%s; \"troupe-sim --list\" lists them all", name, didYouMean(name, t.scenarioNames()))
		}
		all = append(all, target{"scenario", name, t.runScenario(t.scenarios[i]), options})
	}
	return all, nil
}

func (t runner) profileNames() (names []string) {
	for _, p := range t.profiles {
		names = append(names, p.Name)
	}
	return names
}

func (t runner) scenarioNames() (names []string) {
	for _, sc := range t.scenarios {
		names = append(names, sc.Name)
	}
	return names
}

func invariantNames() (names []string) {
	for _, i := range checker.Invariants {
		names = append(names, i.Name)
	}
	return names
}

func faultNames() (names []string) {
	for _, kind := range fault.Kinds() {
		names = append(names, kind.String())
	}
	return names
}

func namesOf[T any](all []T, name func(T) string) string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = name(one)
	}
	return strings.Join(names, ", ")
}
