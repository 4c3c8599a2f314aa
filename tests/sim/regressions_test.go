package sim

import "testing"

// regressions are histories that once failed. What a seed draws changes with the simulator, so a row is worth what its seed
// still tells; the story that found the bug stands in a test of the actor, or in a scenario, as well.
var regressions = []struct {
	story    string
	profile  string
	scenario string // instead of a profile
	options  Options
}{
	{
		story: "eleven appends of unknown outcome on one key: the search for an order was stopped by the wall clock, and the " +
			"history failed or not by how busy the machine was (the simulator's own bug)",
		profile: "network", options: Options{Seed: 930},
	},
}

func TestWhatOnceFailedDoesNotFailAgain(t *testing.T) {
	for _, r := range regressions {
		if r.scenario != "" {
			sc, err := Find(r.scenario)
			if err != nil {
				t.Error(err)
				continue
			}
			check(t, sc.Play(r.options))
			continue
		}
		p, err := FindProfile(r.profile)
		if err != nil {
			t.Errorf("%s: %v", r.story, err)
			continue
		}
		r.options.Profile = p
		check(t, Run(r.options))
	}
}
