package client

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// A watch tries its endpoints ten times a second. What it cannot change is reported once, with what
// an operator does, and again only after it was served meanwhile.
func TestWatchReportsEachLossOnce(t *testing.T) {
	var refusals atomic.Int32
	refuse := func(*pb.WatchCreateRequest, pb.Watch_WatchServer) error {
		refusals.Add(1)
		return rpctypes.ErrGRPCNoLeader
	}
	first := startFake(t, &fakeServer{watch: refuse, status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 1}}})
	served := fakeWithHistory(1, func(f *fakeServer, stream pb.Watch_WatchServer) error { return nil })
	second := startFake(t, &fakeServer{status: first.status, watch: func(r *pb.WatchCreateRequest, stream pb.Watch_WatchServer) error {
		if refusals.Load() >= 8 {
			return served.watch(r, stream)
		}
		return refuse(r, stream)
	}})
	ctx, cancel := context.WithCancel(testContext(t, time.Minute))
	var reported []string
	err := newCluster(t, first.endpoint, unusedAddress(), second.endpoint).Watch(ctx, &pb.WatchCreateRequest{Key: []byte("k"), StartRevision: 1},
		func(*pb.WatchResponse) error { return nil }, func(err error) {
			if reported = append(reported, err.Error()); len(reported) == 5 {
				cancel()
			}
		})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	waits := []string{"http://" + first.endpoint, "http://" + second.endpoint, "no leader is known to ", "a majority of the members", "waits, and continues by itself"}
	for i, texts := range [][]string{
		{"no leader is known to http://" + first.endpoint, "trying the next endpoint"},
		{"no leader is known to http://" + second.endpoint, "trying the next endpoint"},
		waits,
		{"http://" + second.endpoint, "trying the next endpoint"}, // it ended the stream
	} {
		for _, text := range texts {
			if i >= len(reported) || !strings.Contains(reported[i], text) {
				t.Errorf("report %d lacks %q: %q", i, text, reported)
			}
		}
	}
}

// With one endpoint there is no next one.
func TestWatchAtOneEndpointSaysThatItWaits(t *testing.T) {
	only := startFake(t, &fakeServer{
		watch:  func(*pb.WatchCreateRequest, pb.Watch_WatchServer) error { return rpctypes.ErrGRPCNoLeader },
		status: &pb.StatusResponse{Header: &pb.ResponseHeader{MemberId: 1}},
	})
	ctx, cancel := context.WithCancel(testContext(t, time.Minute))
	err := newCluster(t, only.endpoint).Watch(ctx, &pb.WatchCreateRequest{Key: []byte("k")}, func(*pb.WatchResponse) error { return nil }, func(err error) {
		if cancel(); strings.Contains(err.Error(), "next endpoint") || !strings.Contains(err.Error(), "a majority of the members") {
			t.Error(err)
		}
	})
	if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
