package kv

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/troupe-raft/troupe"
)

// requestKind is a kind of request whose duration etcd measures.
type requestKind int

const (
	requestRange requestKind = iota
	requestReadTxn
	requestPut
	requestDeleteRange
	requestTxn
	requestCompaction
	requestKindCount
)

var requestKindNames = [requestKindCount]string{"Range", "ReadonlyTxn", "Put", "DeleteRange", "Txn", "Compaction"}

// kvMetrics measure the requests of the KV service.
type kvMetrics struct {
	durations         *prometheus.HistogramVec
	durationsByKind   [requestKindCount][2]prometheus.Observer // by success
	ranges            *prometheus.HistogramVec
	rangesBySuccess   [2]prometheus.Observer
	proposalsFailed   prometheus.Counter
	slowReadIndexes   prometheus.Counter
	readIndexesFailed prometheus.Counter
}

func newKVMetrics() *kvMetrics {
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
	}
	m := &kvMetrics{
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_server_request_duration_seconds", Help: "Response latency distribution in seconds for each type.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 14),
		}, []string{"type", "success"}),
		ranges: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "etcd_server_range_duration_seconds", Help: "The latency distributions of reading a range from the store.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 20),
		}, []string{"success"}),
		proposalsFailed:   counter("etcd_server_proposals_failed_total", "The total number of failed proposals seen."),
		slowReadIndexes:   counter("etcd_server_slow_read_indexes_total", "The total number of reads that timed out before this member had reached their read index."),
		readIndexesFailed: counter("etcd_server_read_indexes_failed_total", "The total number of reads that ended without a read index."),
	}
	for success := range 2 {
		label := strconv.FormatBool(success == 1)
		m.rangesBySuccess[success] = m.ranges.WithLabelValues(label)
		for kind, name := range requestKindNames {
			m.durationsByKind[kind][success] = m.durations.WithLabelValues(name, label)
		}
	}
	return m
}

func (m *kvMetrics) collectors() []prometheus.Collector {
	return []prometheus.Collector{m.durations, m.ranges, m.proposalsFailed, m.slowReadIndexes, m.readIndexesFailed}
}

// requestEnded measures a request.
func (m *kvMetrics) requestEnded(kind requestKind, began time.Time, err error) {
	m.durationsByKind[kind][successIndex(err)].Observe(time.Since(began).Seconds())
}

// rangeEnded measures the read of the store.
func (m *kvMetrics) rangeEnded(began time.Time, err error) {
	m.rangesBySuccess[successIndex(err)].Observe(time.Since(began).Seconds())
}

// readIndexFailed counts a read that got no read index, or whose member did not reach it in time.
func (m *kvMetrics) readIndexFailed(mode troupe.ReadMode, err error) {
	switch {
	case mode == troupe.ReadLocal, errors.Is(err, context.Canceled):
	case errors.Is(err, troupe.ErrTimeout):
		m.slowReadIndexes.Inc()
	default:
		m.readIndexesFailed.Inc()
	}
}

func successIndex(err error) int {
	if err != nil {
		return 0
	}
	return 1
}
