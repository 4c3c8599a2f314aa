package kv

import (
	"testing"
	"time"

	"github.com/rs/zerolog"

	"github.com/troupe-raft/troupe"
)

// scriptedConsensus has the status and the refusals that a test sets.
type scriptedConsensus struct {
	Consensus
	diskLow bool
	refused uint64
	link    troupe.LinkMetrics
}

func (c *scriptedConsensus) Status() troupe.Status { return troupe.Status{ID: 1, DiskLow: c.diskLow} }

func (c *scriptedConsensus) Metrics() troupe.Metrics {
	return troupe.Metrics{
		Refusals: []troupe.RefusalCount{{Limit: "MaxUncommittedBytes", Count: c.refused}}, Links: []troupe.LinkMetrics{c.link},
	}
}

// A limit that refuses requests is logged when that begins and when it has ended for a while,
// however many requests it refuses; so is an alarm.
func TestConditionsAreLoggedWhenTheyBeginAndEnd(t *testing.T) {
	log := &logBuffer{}
	ts := startServer(t)
	s := &services{config: ts.config, metrics: ts.metrics, quota: ts.quota}
	consensus := &scriptedConsensus{}
	s.config.Consensus, s.config.Logger, s.config.DataDir, s.config.DiskLowWaterBytes = consensus, zerolog.New(log), "/data", 256
	l := newConditionLog(s)
	now := time.Unix(0, 0)
	expect := func(what string, want int, words ...string) {
		t.Helper()
		l.check(now)
		now = now.Add(conditionInterval)
		if n := log.count(words...); n != want {
			t.Fatalf("%s: %d lines with %q, want %d:\n%s", what, n, words, want, log.text.String())
		}
	}
	began := []string{"requests are refused, a limit is reached", `"level":"warn"`, "MaxUncommittedBytes", "advice"}
	ended := []string{"no more requests are refused at the limit", `"level":"info"`, "MaxUncommittedBytes"}
	expect("nothing is refused", 0, "refused")
	for range 3 {
		consensus.refused += 10
		expect("requests are refused", 1, began...)
	}
	now = now.Add(refusalQuietTime / 2)
	expect("not for long", 0, ended...)
	consensus.refused++
	expect("again, before it ended", 1, began...)
	now = now.Add(refusalQuietTime)
	expect("it ended", 1, append(ended, `"refused":31`)...)
	expect("and is logged once", 1, ended...)
	consensus.refused++
	expect("it begins again", 2, began...)

	ts.metrics.refused[limitTxnOps].Inc()
	expect("a limit of the client port", 1, began[0], limitTxnOps, "--max-txn-ops")

	consensus.diskLow = true
	for range 2 {
		expect("the disk is low", 1, "alarm raised", "NOSPACE", `"data_dir":"/data"`, `"disk_low_water_bytes":256`, "make room")
	}
	consensus.diskLow = false
	for range 2 {
		expect("the disk has room", 1, "alarm ended", "NOSPACE", "low-water mark")
	}

	dropped := []string{"messages to a peer are dropped, its queue is full", `"peer":"0xab"`}
	consensus.link = troupe.LinkMetrics{PeerID: 0xab, EnvelopesDropped: 5}
	expect("the peer is away", 0, dropped...)
	consensus.link.Up, consensus.link.EnvelopesDropped = true, 6
	expect("dropped before it came", 0, dropped...)
	for range 2 {
		consensus.link.EnvelopesDropped += 3
		expect("dropped while it is connected", 1, dropped...)
	}
	now = now.Add(refusalQuietTime)
	expect("no more", 1, "no more messages to the peer are dropped", `"dropped":6`)
}
