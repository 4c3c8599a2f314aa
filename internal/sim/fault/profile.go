package fault

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/supervisor"
)

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
	// Application is what runs on the members: a world.NewApplication. Nil: a small key-value store.
	Application any
}

var (
	networkFaults = []Kind{Cut, Cut, OneWay, Bridge, Isolate, Flap, Flapping, SlowLink, LossBurst, Transfer}
	crashFaults   = []Kind{Kill, PowerCut, PowerCut, Crash, Crash, Crash, CrashTwice, CrashRecovering, CrashLoop, Pause, Transfer, Stop, Kill}
	diskFaults    = []Kind{
		SlowDisk, StalledDisk, FullDisk, FailedWrite, FailedWrite, FailedSync, FailedSync, FlippedBit, LostDisk, LostLog,
		EmptiedDisk, EmptiedDisk,
		PowerCut, PowerCut, PowerCut, Kill, Transfer, FailedRead, FailedRead, FlippedRead, FlippedRead,
		FailedState, FullState, LostState, DamagedState,
	}
	copyFaults  = []Kind{RestoredDisk, RestoredDisk, RestoredDisk, RestoredDisk, RestoredDisk, EmptiedDisk, Kill, Kill, Kill, Stop, PowerCut, PowerCut, PowerCut, Crash, Pause}
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
	{Name: "older-copies", Description: "members return with older copies of their disks, or with empty ones, while processes and connections fail", MessageFaults: true,
		Faults: slices.Concat(copyFaults, networkFaults)},
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
