package main

import (
	"fmt"
	"math"
	"slices"
)

// values are several measurements of one quantity.
type values []float64

func (f values) sorted() values {
	s := slices.Clone(f)
	slices.Sort(s)
	return s
}

// median returns the middle value, the mean of the middle two, or NaN without values.
func (f values) median() float64 {
	s := f.sorted()
	switch n := len(s); {
	case n == 0:
		return math.NaN()
	case n%2 == 1:
		return s[n/2]
	default:
		return (s[n/2-1] + s[n/2]) / 2
	}
}

func (f values) min() float64 { return extremeOf(f, slices.Min[values]) }
func (f values) max() float64 { return extremeOf(f, slices.Max[values]) }

func extremeOf(f values, of func(values) float64) float64 {
	if len(f) == 0 {
		return math.NaN()
	}
	return of(f)
}

// ratios returns the ratios of pairs, which were measured one after the other: f[i] / g[i].
func (f values) ratios(g values) values {
	r := make(values, 0, len(f))
	for i := range min(len(f), len(g)) {
		if g[i] != 0 {
			r = append(r, f[i]/g[i])
		}
	}
	return r
}

// spread returns the median, with the lowest and the highest value in parentheses.
func (f values) spread(format func(float64) string) string {
	switch len(f) {
	case 0:
		return "–"
	case 1:
		return format(f[0])
	}
	return fmt.Sprintf("%s (%s–%s)", format(f.median()), format(f.min()), format(f.max()))
}

// threeDigits formats a value with three significant digits and without an exponent.
func threeDigits(v float64) string {
	if v == 0 || math.IsNaN(v) {
		return "0"
	}
	digits := 2 - int(math.Floor(math.Log10(math.Abs(v))))
	if digits <= 0 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.*f", min(digits, 4), v)
}

func ratio(v float64) string { return fmt.Sprintf("%.2f", v) }
