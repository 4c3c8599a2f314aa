package main

import (
	"fmt"
	"math"
	"slices"
)

// figures are several measurements of the same thing.
type figures []float64

func (f figures) sorted() figures {
	s := slices.Clone(f)
	slices.Sort(s)
	return s
}

// median of an even number of figures is the mean of the middle two; of none it is not a number.
func (f figures) median() float64 {
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

func (f figures) min() float64 { return extreme(f, slices.Min[figures]) }
func (f figures) max() float64 { return extreme(f, slices.Max[figures]) }

func extreme(f figures, of func(figures) float64) float64 {
	if len(f) == 0 {
		return math.NaN()
	}
	return of(f)
}

// ratios of pairs: the i-th of f by the i-th of g, which were measured one right after the other.
func (f figures) ratios(g figures) figures {
	r := make(figures, 0, len(f))
	for i := range min(len(f), len(g)) {
		if g[i] != 0 {
			r = append(r, f[i]/g[i])
		}
	}
	return r
}

// spread tells the median with the lowest and the highest.
func (f figures) spread(format func(float64) string) string {
	switch len(f) {
	case 0:
		return "–"
	case 1:
		return format(f[0])
	}
	return fmt.Sprintf("%s (%s–%s)", format(f.median()), format(f.min()), format(f.max()))
}

// three writes a figure with three significant digits, without an exponent.
func three(v float64) string {
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
