// Package simulation runs the key-value store in the deterministic simulator: the etcd services
// (package kv), the store (kv/mvcc, on the engine in memory) and watches (kv/watch) on the
// production actors, in virtual time, with clients that check every response against a model.
//
// Each run of a member has a Scheduler of its own (internal/interleave). The handlers of requests,
// the hub and the streams of watches run on it as tasks, which it interrupts at every lock and
// wait. The store's Apply is called by the Machine actor, as in production.
package simulation

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/rs/zerolog"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe/internal/interleave"
	"github.com/troupe-raft/troupe/internal/sim/fault"
	"github.com/troupe-raft/troupe/internal/sim/world"
	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/kv/mvcc"
	"github.com/troupe-raft/troupe/kv/mvcc/engine/memory"
	"github.com/troupe-raft/troupe/statemachine"
)

// Profiles are the simulator's profiles with the key-value store.
var Profiles = []fault.Profile{Profile("calm", "key-value-calm", "no faults, with the etcd services and their store on every member"), Profile("everything", "key-value", "all faults, with the etcd services and their store on every member")}

// Profile returns a profile with the faults of another one and the key-value store.
func Profile(faults, name, description string) fault.Profile {
	p, err := fault.FindProfile(faults)
	if err != nil {
		panic(err)
	}
	p.Name, p.Description, p.Application = name, description, world.NewApplication(newApplication)
	return p
}

// application is the key-value store of all members, with its clients.
type application struct {
	world   *world.World
	random  *rand.Rand
	members []*member
	clients []*client
	watches []*watchClient
	model   *model
	hashes  map[hashedState]uint32
	counts  struct{ calls, answered, streams, events int }

	settings settings

	acknowledgedRevision  int64 // the highest that a client knows of
	acknowledgedCompacted int64 // the highest compaction that a client knows of
	lastNumber            uint64
}

// settings are what a script decides in place of the seed. The zero value leaves all to the seed.
type settings struct {
	configure func(*mvcc.Options, *kv.ServerConfig) // nil: as the seed has chosen
	// maxUnflushed is how many of the newest batches a member loses at its end; 0: the seed decides.
	maxUnflushed int
}

func newApplication(w *world.World) world.Application { return newScripted(w, settings{}) }

func newScripted(w *world.World, s settings) *application {
	return &application{world: w, random: w.Random, model: newModel(), hashes: map[hashedState]uint32{}, settings: s}
}

// member is one member's store and services.
type member struct {
	*world.Member
	app  *application
	disk *memory.Disk // survives runs

	// Of the present run.
	schedule   *interleave.Scheduler // nil: the member is down
	stepIsDue  bool
	factory    statemachine.Factory
	store      *mvcc.StoreRef
	services   *kv.Services
	operations []*operation // under way
	streams    []*watchStream
}

// AddMember implements world.Application.
func (a *application) AddMember(m *world.Member) world.MemberApplication {
	added := &member{Member: m, app: a}
	added.DiskLost()
	a.members = append(a.members, added)
	return added
}

// RunStarts implements world.MemberApplication.
func (m *member) RunStarts() {
	m.schedule = interleave.New(m.app.random.IntN, m.AfterInRun)
	m.stepIsDue = false
	options := mvcc.Options{
		Engine: m.disk.Open, Schedule: m.schedule, Logger: zerolog.Nop(),
		CompactionStepEvents: m.app.pick(1, 3, 256), StageBytes: m.app.pick(600, 16<<20),
		OnFatal: func(err error) { m.app.world.Fail("no panic", "the store of member %d failed: %v", m.ID(), err) },
	}
	config := kv.ServerConfig{
		Consensus: &consensus{m}, MemberID: m.ID(), ClusterID: 1, Schedule: m.schedule, Logger: zerolog.Nop(),
		MaxRequestBytes:       m.app.pick(160, 300, 1<<20), // of a chunk of a RangeStream too
		WatchProgressInterval: 200 * time.Millisecond, RequestTimeout: 7 * time.Second,
		WatchQueueBytes: m.app.pick(1, 500, 1<<20), WatchStreamBufferBytes: m.app.pick(1, 300, 1<<20),
	}
	if configure := m.app.settings.configure; configure != nil {
		configure(&options, &config)
	}
	m.factory, m.store = mvcc.Factory("kv", options)
	config.Store = m.store
	services, err := kv.NewServices(config)
	if err != nil {
		m.app.world.Fail("start", "the services of member %d: %v", m.ID(), err)
		return
	}
	m.services = services
	m.schedule.Go("hub", services.RunHub)
}

func (a *application) pick(of ...int) int { return of[a.random.IntN(len(of))] }

// Open implements world.MemberApplication.
func (m *member) Open() (statemachine.StateMachine, error) { return m.factory() }

// RunEnds implements world.MemberApplication. The engine has no log: some of the newest batches are
// lost.
func (m *member) RunEnds() {
	if m.schedule == nil {
		return
	}
	m.schedule.Stop()
	m.schedule = nil
	lost := m.disk.Unflushed()
	if m.app.settings.maxUnflushed == 0 {
		lost = m.app.random.IntN(lost + 1)
	}
	m.disk.Crash(lost)
	operations, streams := m.operations, m.streams
	m.operations, m.streams = nil, nil
	for _, o := range operations {
		o.end(nil, errMemberEnded)
	}
	for _, s := range streams {
		s.disconnected()
	}
}

// DiskLost implements world.MemberApplication.
func (m *member) DiskLost() {
	m.disk = memory.NewDisk()
	if n := m.app.settings.maxUnflushed; n > 0 {
		m.disk.MaxUnflushed = n
	}
}

// Applied implements world.MemberApplication.
func (m *member) Applied(c *statemachine.Command, result []byte) (number uint64) {
	return m.app.applied(m, c, result)
}

// AfterStep implements world.Application: tasks that can go on run some virtual time later.
func (a *application) AfterStep() {
	for _, m := range a.members {
		if m.schedule == nil || m.stepIsDue || !m.schedule.Runnable() {
			continue
		}
		m.stepIsDue = true
		wait := max(m.PausedUntil-a.world.Now(), 0) + a.world.RandomDuration(time.Microsecond, 80*time.Microsecond)
		if a.world.Chance(0.02) {
			wait += a.world.RandomDuration(time.Millisecond, 30*time.Millisecond) // the processor has other work
		}
		m.AfterInRun(wait, func() {
			m.stepIsDue = false
			for range 1 + a.random.IntN(12) {
				if m.schedule == nil || !m.schedule.Step() {
					return
				}
			}
		})
	}
}

// Pending implements world.Application.
func (a *application) Pending() bool {
	for _, m := range a.members {
		if len(m.operations) > 0 {
			return true
		}
	}
	return false
}

// CountInto implements world.Application.
func (a *application) CountInto(c *world.Counts) {
	c.ServiceCalls, c.AnsweredCalls, c.WatchStreams, c.WatchEvents = a.counts.calls, a.counts.answered, a.counts.streams, a.counts.events
}

// upMember returns a random member that is up, nil if there is none at present.
func (a *application) upMember() *member {
	if m := a.members[a.random.IntN(len(a.members))]; m.schedule != nil && m.Up() {
		return m
	}
	return nil
}

// incoming returns the context of a request with a read mode; "" is the default one.
func incoming(mode string) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(context.Background())
	if mode != "" {
		ctx = metadata.NewIncomingContext(ctx, metadata.Pairs(kv.ReadModeKey, mode))
	}
	return ctx, cancel
}
