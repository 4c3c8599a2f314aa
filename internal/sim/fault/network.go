package fault

import (
	"math/rand/v2"
	"time"
)

// Network is a network profile: the network of a world, and how often faults happen.
type Network struct {
	MinLatency time.Duration // of a message; 0: 100 µs
	MaxLatency time.Duration // of a message that is not delayed
	// Messages overtake each other; else only those of other lanes.
	Reorders                           bool
	HidesCuts                          bool          // links do not report broken connections
	LossRate, DuplicateRate, DelayRate float64       // shares of the messages
	FaultInterval                      time.Duration // mean time between two faults
	BurstLossRate                      float64       // share that is lost in addition, at present
}

var networks = []Network{
	{MaxLatency: 2 * time.Millisecond, LossRate: 0.002, DelayRate: 0.01, FaultInterval: 300 * time.Millisecond},
	{MaxLatency: 20 * time.Millisecond, Reorders: true, LossRate: 0.05, DuplicateRate: 0.05, DelayRate: 0.05, FaultInterval: 300 * time.Millisecond},
	{MaxLatency: 5 * time.Millisecond, HidesCuts: true, LossRate: 0.02, DelayRate: 0.02, FaultInterval: 300 * time.Millisecond},
	{MaxLatency: 300 * time.Millisecond, LossRate: 0.002, DelayRate: 0.01, FaultInterval: 2 * time.Second},
}

// Network draws the network of a world with this profile.
func (p *Profile) Network(random *rand.Rand) Network {
	if len(p.Faults) == 0 && !p.MessageFaults {
		return Network{MaxLatency: 2 * time.Millisecond}
	}
	w := networks[random.IntN(len(networks))]
	if !p.MessageFaults {
		w.LossRate, w.DuplicateRate, w.DelayRate, w.Reorders = 0, 0, 0, false
	}
	return w
}
