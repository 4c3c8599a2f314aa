package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/supervisor"
)

// Kind is a kind of misfortune that happens to a member or between members. What happens to single
// messages is counted apart.
type Kind int

const (
	// Processes and actors.
	Kill            Kind = iota // kill -9: what was written stays in the system's memory
	PowerCut                    // the machine loses power, between two operations of the disk or two messages
	Crash                       // an actor panics at a message
	CrashTwice                  // and at the next one, after it was restarted
	CrashRecovering             // an actor panics while the node recovers
	CrashLoop                   // the Node panics until the window of restarts is exceeded
	Pause                       // a process stands still and goes on with its backlog
	Transfer                    // leadership is handed over, or a member is told to campaign

	// The network.
	Cut       // connections break, one way or both
	OneWay    // a member hears and is not heard, or the other way round
	Bridge    // two halves are joined only through one member
	Isolate   // a member is cut off from all others
	Flap      // a connection breaks and is back at once, a queue drops something
	Flapping  // a member is cut off and joined again and again
	LossBurst // for a while, most messages are lost

	// Disks.
	SlowDisk    // writes and syncs take long
	StalledDisk // nothing is written for longer than an election timeout
	FullDisk    // no space, for a while
	FailedWrite // a write, or what makes a name, fails
	FailedSync  // a sync fails
	FlippedBit  // a bit of old data changes
	LostDisk    // all is gone
	LyingDisk   // syncs do nothing for a while
	FailedRead  // a read fails, or a look at a name
	FlippedRead // a read brings a bit that is not so on the disk

	// What a state machine keeps on disk.
	FailedState  // a batch cannot be stored, or not for sure
	FullState    // there is no space for it, for a while
	LostState    // some of it, or all, is gone
	DamagedState // it is found damaged

	// Clocks.
	ClockDrift  // another rate within the bound
	ClockFast   // double speed, or half
	ClockJump   // an hour forward or back
	ClockFrozen // it stands still

	NumKinds = iota
)

var kindNames = [NumKinds]string{
	"kill", "power-cut", "crash", "crash-twice", "crash-recovering", "crash-loop", "pause", "transfer",
	"cut", "one-way", "bridge", "isolate", "flap", "flapping", "loss-burst",
	"slow-disk", "stalled-disk", "full-disk", "failed-write", "failed-sync", "flipped-bit", "lost-disk", "lying-disk",
	"failed-read", "flipped-read", "failed-state", "full-state", "lost-state", "damaged-state",
	"clock-drift", "clock-fast", "clock-jump", "clock-frozen",
}

func (f Kind) String() string { return kindNames[f] }

// ParseKind is the inverse of String.
func ParseKind(name string) (Kind, error) {
	if i := slices.Index(kindNames[:], name); i >= 0 {
		return Kind(i), nil
	}
	return 0, fmt.Errorf("no kind of fault is called %q: there are %s", name, strings.Join(kindNames[:], ", "))
}

// Profile is what kinds of misfortune a world knows.
type Profile struct {
	Name        string
	Description string
	// Faults are the kinds, each as often as it stands here.
	Faults []Kind
	// Messages: single messages are lost, doubled and late.
	MessageFaults bool
	// Beyond: disks of more than a minority may be lost.
	BeyondBudget bool
}

var (
	networkFaults = []Kind{Cut, Cut, OneWay, Bridge, Isolate, Flap, Flapping, LossBurst, Transfer}
	crashFaults   = []Kind{Kill, Kill, PowerCut, PowerCut, Crash, Crash, Crash, CrashTwice, CrashRecovering, CrashLoop, Pause, Transfer}
	diskFaults    = []Kind{
		SlowDisk, StalledDisk, FullDisk, FailedWrite, FailedWrite, FailedSync, FailedSync, FlippedBit, LostDisk,
		PowerCut, PowerCut, PowerCut, Kill, Transfer, FailedRead, FailedRead, FlippedRead, FlippedRead,
		FailedState, FullState, LostState, DamagedState,
	}
	clockFaults = []Kind{ClockDrift, ClockFast, ClockJump, ClockFrozen, Cut, Pause, Kill, Transfer}
)

// Profiles are those to be had by name.
//
// In all but one, a majority of the members can in the end be up with what their disks held, and so
// every failure is a bug: safety at any moment, and service once misfortune ends.
//
// `beyond-the-budget` damages and loses as many disks as it likes. What of Raft's promises holds
// then depends on whether the loss is noticed. A member that refuses to start, or is known to have
// lost its disk and stays away, says nothing any more; so safety holds in full, however many they
// are, and is judged in full. Only service is not asked for where no majority is left. A loss that
// nobody notices is another matter: a disk that reports syncs it has not done, and then loses
// power, lets a member forget votes and acknowledgements that others rely on, and no protocol that
// counts acknowledgements survives that, even of a single member. So such a history is judged in
// full up to the moment at which a member that has forgotten something goes to work again, or
// refuses to; in the first case it ends there.
var Profiles = []Profile{
	{Name: "calm", Description: "nothing goes wrong"},
	{Name: "network", Description: "messages are lost, doubled, late and overtake each other; connections break in every way", MessageFaults: true,
		Faults: networkFaults},
	{Name: "crashes", Description: "members die and return, machines lose power, actors panic at any message", Faults: crashFaults},
	{Name: "disks", Description: "disks are slow, stalled, full, fail, lose what was not synced, rot and are lost, those of a minority for ever",
		Faults: diskFaults},
	{Name: "clocks", Description: "clocks drift, run at other speeds, jump and stand still", MessageFaults: true, Faults: clockFaults},
	{Name: "beyond-the-budget", Description: "more disks are damaged and lost than a cluster survives, and some lie: no wrong answer all the same",
		MessageFaults: true, BeyondBudget: true, Faults: slices.Concat(
			[]Kind{LyingDisk, LyingDisk, PowerCut, PowerCut, FlippedBit, FlippedBit, LostDisk}, networkFaults, crashFaults, diskFaults)},
	{Name: "everything", Description: "all of it", MessageFaults: true, Faults: slices.Concat(networkFaults, crashFaults, diskFaults, clockFaults)},
}

// scripted is the profile of scenarios: only what the script says goes wrong.
var Scripted = Profile{Name: "scripted"}

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

// drift: clocks run at slightly different speeds wherever anything goes wrong at all.
func (p *Profile) ClocksDrift() bool { return len(p.Faults) > 0 }

// endless is a window of restarts that is never exceeded.
var UnlimitedRestarts = supervisor.RestartLimit{Max: 1 << 30, Within: time.Hour}

// window: half of the worlds have that of production, so that crashes lead to its end; in the
// others they go on and on.
func (p *Profile) RestartLimit(random *rand.Rand) supervisor.RestartLimit {
	if len(p.Faults) > 0 && random.IntN(2) == 0 {
		return supervisor.DefaultRestartLimit
	}
	return UnlimitedRestarts
}

// weather is the network that a seed lives in, and how often a fault happens.
type Network struct {
	MinLatency                         time.Duration // that a message takes; 0: 100 µs
	MaxLatency                         time.Duration // at most, but for what is late
	Reorders                           bool          // messages overtake each other; else only those of other lanes
	HidesCuts                          bool          // no link tells of broken connections
	LossRate, DuplicateRate, DelayRate float64       // shares of the messages
	FaultInterval                      time.Duration // the mean time between two faults
	BurstLossRate                      float64       // the share lost on top of that, for now
}

var networks = []Network{
	{MaxLatency: 2 * time.Millisecond, LossRate: 0.002, DelayRate: 0.01, FaultInterval: 300 * time.Millisecond},
	{MaxLatency: 20 * time.Millisecond, Reorders: true, LossRate: 0.05, DuplicateRate: 0.05, DelayRate: 0.05, FaultInterval: 300 * time.Millisecond},
	{MaxLatency: 5 * time.Millisecond, HidesCuts: true, LossRate: 0.02, DelayRate: 0.02, FaultInterval: 300 * time.Millisecond},
	{MaxLatency: 300 * time.Millisecond, LossRate: 0.002, DelayRate: 0.01, FaultInterval: 2 * time.Second},
}

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
