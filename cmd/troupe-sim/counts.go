package main

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/history"
	"github.com/troupe-raft/troupe/internal/sim/world"
)

// group is a row of counts.
type group struct {
	name   string
	fields []field
}

type field struct {
	name string
	n    int
}

// text leaves out zero counts, unless all are zero.
func (g group) text() string {
	words := make([]string, 0, len(g.fields))
	for _, f := range g.fields {
		if f.n > 0 {
			words = append(words, f.name+" "+thousands(f.n))
		}
	}
	if len(words) == 0 {
		return "none"
	}
	return strings.Join(words, ", ")
}

// rowOf has the row of each field of world.Counts.
var rowOf = map[string]string{
	"Messages": "network", "Lost": "network", "Doubled": "network", "Late": "network", "Displaced": "network", "Elections": "log", "Committed": "log",
	"FailedOperations": "disks", "RefusedForSpace": "disks", "FailedReads": "disks", "FlippedReads": "disks",
	"FailedBatches": "disks", "StatesLost": "disks", "CutMidway": "power cuts", "CrashedRecovering": "crashes",
	"ActorRestarts": "restarts", "SubtreeRestarts": "restarts", "Away": "restarts",
	"ServiceCalls": "services", "AnsweredCalls": "services", "WatchStreams": "services", "WatchEvents": "services",
}

// rows are in the order of the table.
var rows = []string{
	"network", "log", "operations", "outcomes", "services", "faults", "power cuts", "disks", "crashes", "restarts", "stops", "other",
}

// groups puts the counts into rows. The rows are made from the type of Counts, so no count can be
// left out.
func groups(c *world.Counts) []group {
	all := map[string][]field{}
	add := func(row string, fields ...field) { all[row] = append(all[row], fields...) }
	add("faults", named(c.Faults[:], func(k int) string { return fault.Kind(k).String() })...)
	add("power cuts", named(c.CrashImages[:], func(k int) string { return world.CrashImage(k).String() })...)
	add("stops", named(c.Stops[:], func(k int) string { return world.Stop(k).String() })...)
	add("crashes", named(c.Crashed[:], func(k int) string { return world.CrashPoint(k).Actor() })...)
	kinds, became := operations(c)
	add("operations", kinds...)
	add("outcomes", became...)
	v := reflect.ValueOf(c).Elem()
	for i := range v.NumField() {
		switch name := v.Type().Field(i).Name; name {
		case "Faults", "CrashImages", "Stops", "Crashed", "Operations", "Handled":
			// The last has a row of its own.
		default:
			row := rowOf[name]
			if row == "" {
				row = "other"
			}
			add(row, flatten(words(name), v.Field(i))...)
		}
	}
	var ordered []group
	for _, row := range rows {
		if len(all[row]) > 0 {
			ordered = append(ordered, group{row, all[row]})
		}
	}
	return ordered
}

// named returns counts by kind; consecutive kinds of one name are added up.
func named(counts []int, name func(kind int) string) (all []field) {
	for kind, n := range counts {
		if last := len(all) - 1; last >= 0 && all[last].name == name(kind) {
			all[last].n += n
		} else {
			all = append(all, field{name(kind), n})
		}
	}
	return all
}

// operations returns the clients' operations by kind, and by outcome.
func operations(c *world.Counts) (kinds, became []field) {
	for kind, outcomes := range c.Operations {
		total := 0
		for outcome, n := range outcomes {
			if total += n; kind == 0 {
				became = append(became, field{name: history.Outcome(outcome).String()})
			}
			became[outcome].n += n
		}
		kinds = append(kinds, field{history.Op(kind).String(), total})
	}
	return kinds, became
}

// flatten returns a count, or the counts of an array of counts.
func flatten(name string, v reflect.Value) (all []field) {
	switch v.Kind() {
	case reflect.Array, reflect.Slice:
		for i := range v.Len() {
			all = append(all, flatten(fmt.Sprintf("%s %d", name, i), v.Index(i))...)
		}
	case reflect.Int:
		all = append(all, field{name, int(v.Int())})
	}
	return all
}

// words converts LostTails to "lost tails".
func words(name string) string {
	var b strings.Builder
	for i, r := range name {
		if i > 0 && r >= 'A' && r <= 'Z' {
			b.WriteByte(' ')
		}
		b.WriteRune(r)
	}
	return strings.ToLower(b.String())
}
