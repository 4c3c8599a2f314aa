package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/supervisor"
)

// Kind is a kind of fault of a member or between members. Faults of single messages are counted
// separately.
type Kind int

const (
	// Processes and actors.
	Kill            Kind = iota // kill -9: what was written stays in the system's memory
	PowerCut                    // the machine loses power, between two disk operations or two messages
	Crash                       // an actor panics at a message
	CrashTwice                  // and at the next one, after its restart
	CrashRecovering             // an actor panics while the node recovers
	CrashLoop                   // the Node panics until the restart limit is exceeded
	Pause                       // a process pauses and continues with its backlog
	Transfer                    // leadership is transferred, or a member is asked to campaign

	// The network.
	Cut       // connections break, one way or both
	OneWay    // a member receives and cannot send, or the other way round
	Bridge    // two halves are connected only through one member
	Isolate   // a member is cut off from all others
	Flap      // a connection breaks and is back at once, and messages were dropped
	Flapping  // a member is cut off and connected again, several times
	LossBurst // for a while, most messages are lost

	// Disks.
	SlowDisk    // writes and syncs take long
	StalledDisk // nothing is written for longer than an election timeout
	FullDisk    // no free space for a while
	FailedWrite // a write, a creation or a rename fails
	FailedSync  // a sync fails
	FlippedBit  // a bit of old data changes
	LostDisk    // all data is lost
	LyingDisk   // syncs report success and do nothing for a while
	FailedRead  // a read of data or of a name fails
	FlippedRead // a read returns a wrong bit

	// The storage of a state machine.
	FailedState  // a batch is not stored, or not certainly
	FullState    // no free space for a while
	LostState    // some data, or all, is lost
	DamagedState // its files are damaged

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

// Profile is the set of faults that a world can have.
type Profile struct {
	Name        string
	Description string
	// Faults are the kinds; a kind that is listed twice happens twice as often.
	Faults []Kind
	// MessageFaults: single messages are lost, duplicated and delayed.
	MessageFaults bool
	// BeyondBudget: more than a minority of the disks may be damaged or lost.
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

// Profiles are the profiles by name.
//
// In all but one, a majority of the members can be up at the end with what their disks held. So
// every failure is a bug: of safety at any time, and of liveness after the last fault.
//
// `beyond-the-budget` damages and loses any number of disks. What holds then depends on whether the
// loss is noticed. A member that refuses to start, or whose disk was lost and which stays down,
// sends nothing any more; so all safety invariants hold and are checked, however many such members
// there are. Only liveness is not expected without a majority. A loss without notice is different:
// a disk that drops syncs and then loses power makes a member lose votes and acknowledgements on
// which others rely. No protocol that counts acknowledgements survives that, even of a single
// member. Such a history is checked in full until that member recovers, and ends there; if the
// member refuses its disk instead, the history continues.
var Profiles = []Profile{
	{Name: "calm", Description: "no faults"},
	{Name: "network", Description: "messages are lost, duplicated, delayed and reordered; connections break in every way", MessageFaults: true,
		Faults: networkFaults},
	{Name: "crashes", Description: "processes are killed, machines lose power, actors panic at any message", Faults: crashFaults},
	{Name: "disks", Description: "disks are slow, stalled or full, fail, lose what was not synced, and a minority of them is damaged or lost for good",
		Faults: diskFaults},
	{Name: "clocks", Description: "clocks drift, run at other speeds, jump and stand still", MessageFaults: true, Faults: clockFaults},
	{Name: "beyond-the-budget", Description: "more disks are damaged and lost than a cluster survives, and some drop syncs: replies must be right nevertheless",
		MessageFaults: true, BeyondBudget: true, Faults: slices.Concat(
			[]Kind{LyingDisk, LyingDisk, PowerCut, PowerCut, FlippedBit, FlippedBit, LostDisk}, networkFaults, crashFaults, diskFaults)},
	{Name: "everything", Description: "all faults", MessageFaults: true, Faults: slices.Concat(networkFaults, crashFaults, diskFaults, clockFaults)},
}

// Scripted is the profile of scenarios: only the script injects faults.
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

// ClocksDrift: clocks run at slightly different speeds in every profile with faults.
func (p *Profile) ClocksDrift() bool { return len(p.Faults) > 0 }

// UnlimitedRestarts is a restart limit that is never exceeded.
var UnlimitedRestarts = supervisor.RestartLimit{Max: 1 << 30, Within: time.Hour}

// RestartLimit returns the production limit for half of the worlds, so that crashes exceed it; the
// others restart without limit.
func (p *Profile) RestartLimit(random *rand.Rand) supervisor.RestartLimit {
	if len(p.Faults) > 0 && random.IntN(2) == 0 {
		return supervisor.DefaultRestartLimit
	}
	return UnlimitedRestarts
}

// Network is a network profile: the network of a world, and how often faults happen.
type Network struct {
	MinLatency                         time.Duration // of a message; 0: 100 µs
	MaxLatency                         time.Duration // of a message that is not delayed
	Reorders                           bool          // messages overtake each other; else only those of other lanes
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
