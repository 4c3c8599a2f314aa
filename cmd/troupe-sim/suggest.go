package main

import (
	"slices"
	"strings"
)

// maxSuggestions is how many names are suggested for an unknown one.
const maxSuggestions = 5

// didYouMean returns " (did you mean …?)" with the names that are most similar to a word; "" if
// none is.
func didYouMean(word string, names []string) string {
	type candidate struct {
		name string
		far  int
	}
	var near []candidate
	for _, name := range names {
		if far, like := nameDistance(strings.ToLower(word), strings.ToLower(name)); like {
			near = append(near, candidate{name, far})
		}
	}
	if len(near) == 0 {
		return ""
	}
	slices.SortStableFunc(near, func(a, b candidate) int { return a.far - b.far })
	near = near[:min(len(near), maxSuggestions)]
	return " (did you mean " + namesOf(near, func(c candidate) string { return c.name }) + "?)"
}

// nameDistance returns how different a name is from a word, and whether it is similar at all: a
// typing error away, the word with more around it, or with a part in common.
func nameDistance(word, name string) (far int, like bool) {
	if d := distance(word, name); d <= max(1, len(word)/3) {
		return d, true
	}
	if len(word) > 2 && strings.Contains(name, word) {
		return 100, true
	}
	for part := range strings.FieldsFuncSeq(word, func(r rune) bool { return r == '-' || r == '_' || r == ' ' }) {
		if len(part) > 2 && strings.Contains(name, part) {
			return 200, true
		}
	}
	return 0, false
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for k := range row {
		row[k] = k
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for k := range len(b) {
			cost := diagonal
			if a[i] != b[k] {
				cost = 1 + min(diagonal, row[k], row[k+1])
			}
			diagonal, row[k+1] = row[k+1], cost
		}
	}
	return row[len(b)]
}
