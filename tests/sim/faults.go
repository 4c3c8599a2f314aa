package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Fault is a kind of misfortune that happens to a member or between members. What happens to single messages is counted
// apart.
type Fault int

const (
	Kill     Fault = iota // a member dies, as by kill -9 or a power cut, and returns on what its disk kept
	Crash                 // an actor panics at a message
	Cut                   // connections break, one way or both
	Isolate               // a member is cut off from all others
	Flap                  // a connection breaks and is back at once, a queue drops something
	Pause                 // a process stands still and goes on with its backlog
	SlowDisk              // writes and syncs take long
	Transfer              // leadership is handed over, or a member is told to campaign

	faultKinds = iota
)

var faultNames = [faultKinds]string{"kill", "crash", "cut", "isolate", "flap", "pause", "slow-disk", "transfer"}

func (f Fault) String() string { return faultNames[f] }

// ParseFault is the inverse of String.
func ParseFault(name string) (Fault, error) {
	if i := slices.Index(faultNames[:], name); i >= 0 {
		return Fault(i), nil
	}
	return 0, fmt.Errorf("no kind of fault is called %q: there are %s", name, strings.Join(faultNames[:], ", "))
}

// Profile is what kinds of misfortune a world knows.
type Profile struct {
	Name string
	Line string
	// Faults are the kinds, each as often as it stands here.
	Faults []Fault
	// Messages: single messages are lost, doubled and late.
	Messages bool
	silent   bool // no link tells of broken connections
}

// Profiles are those to be had by name.
var Profiles = []Profile{
	{Name: "calm", Line: "nothing goes wrong"},
	{Name: "network", Line: "messages are lost, doubled, late and overtake each other; connections break", Messages: true,
		Faults: []Fault{Cut, Cut, Isolate, Flap, Transfer}},
	{Name: "crashes", Line: "members die and return, actors panic at any message", Faults: []Fault{Kill, Kill, Crash, Crash, Pause, Transfer}},
	{Name: "everything", Line: "all of it", Messages: true,
		Faults: []Fault{Kill, Kill, Crash, Crash, Cut, Cut, Isolate, Pause, SlowDisk, Transfer, Transfer, Flap}},
}

// scripted is the profile of scenarios: only what the script says goes wrong.
var scripted = Profile{Name: "scripted"}

// FindProfile returns the profile of a name.
func FindProfile(name string) (Profile, error) {
	var names []string
	for _, p := range Profiles {
		if p.Name == name {
			return p, nil
		}
		names = append(names, p.Name)
	}
	return Profile{}, fmt.Errorf("no profile %q: there are %s", name, strings.Join(names, ", "))
}

// weather is the network that a seed lives in, and how often a fault happens.
type weather struct {
	least              time.Duration // that a message takes; 0: 100 µs
	latency            time.Duration // at most, but for what is late
	reorders           bool          // messages overtake each other; else only those of other lanes
	silent             bool          // no link tells of broken connections
	loss, double, late float64       // shares of the messages
	every              time.Duration // the mean time between two faults
}

var weathers = []weather{
	{latency: 2 * time.Millisecond, loss: 0.002, late: 0.01, every: 300 * time.Millisecond},
	{latency: 20 * time.Millisecond, reorders: true, loss: 0.05, double: 0.05, late: 0.05, every: 300 * time.Millisecond},
	{latency: 5 * time.Millisecond, silent: true, loss: 0.02, late: 0.02, every: 300 * time.Millisecond},
	{latency: 300 * time.Millisecond, loss: 0.002, late: 0.01, every: 2 * time.Second},
}

func (p *Profile) weather(random *rand.Rand) weather {
	if len(p.Faults) == 0 && !p.Messages {
		return weather{latency: 2 * time.Millisecond}
	}
	w := weathers[random.IntN(len(weathers))]
	if !p.Messages {
		w.loss, w.double, w.late, w.reorders = 0, 0, 0, false
	}
	return w
}

// strikes tells whether a fault may happen now, and counts it.
func (w *World) strikes(f Fault) bool {
	total := 0
	for _, n := range w.counts.Faults {
		total += n
	}
	if w.calm || slices.Contains(w.options.Without, f) || w.options.FaultLimit > 0 && total >= w.options.FaultLimit {
		return false
	}
	w.counts.Faults[f]++
	return true
}
