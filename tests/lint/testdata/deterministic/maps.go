package deterministic

import (
	"maps"
	"slices"
	"sort"
)

type table struct {
	rows map[uint64]string
	ids  []uint64
}

func (t *table) say(string) {}

func orderThatShows(t *table, other map[uint64]string) (first uint64, text string) {
	for _, row := range t.rows { // want: a range over a map whose order may have an effect
		t.say(row)
	}
	for id := range t.rows { // want: a range over a map whose order may have an effect
		first = id
	}
	for id := range t.rows { // want: a range over a map whose order may have an effect
		return id, ""
	}
	for _, row := range t.rows { // want: a range over a map whose order may have an effect
		text += row
	}
	for id := range t.rows { // want: a range over a map whose order may have an effect
		t.ids = append(t.ids, id) // not sorted
	}
	for id, row := range t.rows { // want: a range over a map whose order may have an effect
		other[uint64(len(row))] = row // two rows may have the same length
		_ = id
	}
	for id := range t.rows { // want: a range over a map whose order may have an effect
		if id > 7 {
			break // only some rows were visited
		}
		first++
	}
	return first, text
}

func changesUntilFound(t *table, seen map[uint64]bool) bool {
	for id, row := range t.rows { // want: a range over a map whose order may have an effect
		seen[id] = true
		if row == "" {
			return true // the order decides how many were seen
		}
	}
	return false
}

func sortedInAnotherFunction(t *table) func() {
	for id := range t.rows { // want: a range over a map whose order may have an effect
		t.ids = append(t.ids, id)
	}
	return func() { slices.Sort(t.rest()) }
}

func (t *table) rest() []uint64 { return t.ids }

func orderThatDoesNotShow(t *table, other map[uint64]string) (n int, highest uint64) {
	ids := slices.Sorted(maps.Keys(t.rows))
	for id := range t.rows {
		ids = append(ids, id)
	}
	sort.Slice(ids, func(i, k int) bool { return ids[i] < ids[k] })
	for id, row := range t.rows {
		if row == "" {
			continue
		}
		n += len(row)
		n++
		highest = max(highest, id)
		other[id] = row
		delete(t.rows, id)
	}
	for range t.rows {
		t.say("each time the same")
	}
	for _, row := range t.rows { // order does not matter: say does nothing
		t.say(row)
	}
	// order does not matter: say does nothing
	for _, row := range t.rows {
		t.say(row)
	}
	return n, highest
}

func anyRow(t *table) bool {
	for _, row := range t.rows {
		if row == "" {
			return true
		}
	}
	return false
}
