package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/troupe-raft/troupe/internal/sim/checker"
	"github.com/troupe-raft/troupe/internal/sim/fault"
)

// list prints a line on each scenario, profile, fault and invariant.
func list(out io.Writer, t runner) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	section := func(title string) { fmt.Fprintf(table, "%s\n", title) }
	section("Scenarios (--scenario), with their members and the errata that they cover:")
	for _, sc := range t.scenarios {
		fmt.Fprintf(table, "  %s\t%d\t%s\t%s\n", sc.Name, sc.Nodes, errata(sc.Errata), sc.Description)
	}
	fmt.Fprintln(table)
	section("Profiles (--profile):")
	for _, p := range t.profiles {
		fmt.Fprintf(table, "  %s\t%s\n", p.Name, p.Description)
	}
	fmt.Fprintln(table)
	section("Kinds of fault (--without):")
	for _, f := range fault.Kinds() {
		fmt.Fprintf(table, "  %s\t%s\n", f, f.Description())
	}
	fmt.Fprintln(table)
	section("Invariants, checked at every step:")
	for _, i := range checker.Invariants {
		fmt.Fprintf(table, "  %s\t%s\n", i.Name, i.Description)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

func errata(numbers []int) string {
	words := make([]string, len(numbers))
	for i, n := range numbers {
		words[i] = "E" + strconv.Itoa(n)
	}
	return strings.Join(words, " ")
}
