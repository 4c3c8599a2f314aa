package explain

import (
	"errors"
	"io"
	"slices"
	"time"

	"github.com/troupe-raft/troupe/internal/sim/trace"
)

// Contents lists what is in a trace.
type Contents struct {
	// Kinds of event, and names of messages, faults and operations; each once, in order.
	Kinds, Names        []string
	Events              int
	FirstStep, LastStep int
	First, Last         time.Duration
}

// ReadContents reads a whole trace. Of a damaged one it returns what is before the damage; showing
// the trace reports it.
func ReadContents(r io.Reader) (*Contents, error) {
	in, err := trace.NewReader(r)
	if err != nil {
		return nil, err
	}
	c, kinds, names := &Contents{}, map[string]bool{}, map[string]bool{}
	for {
		e, err := in.Next()
		if err != nil {
			if err != io.EOF && !errors.As(err, new(*trace.DamagedError)) {
				return nil, err
			}
			c.Kinds, c.Names = sorted(kinds), sorted(names)
			return c, nil
		}
		if c.Events == 0 {
			c.FirstStep, c.First = e.Step, e.At
		}
		c.Events, c.LastStep, c.Last = c.Events+1, e.Step, e.At
		kinds[string(e.Kind)] = true
		if e.Name != "" {
			names[clean(e.Name)] = true
		}
	}
}

func sorted(set map[string]bool) []string {
	all := make([]string, 0, len(set))
	for name := range set { // order does not matter: it is sorted
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}

// Has reports whether Options.Only would find anything by this word.
func (c *Contents) Has(word string) bool {
	return slices.Contains(c.Kinds, word) || slices.Contains(c.Names, word)
}
