#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3) and its clientv3; three members, two of
#   them stopped; election timeout 200 ms.
# Guess: clientv3 sends a put again only if it was never sent: client/v3/retry.go says that
#   anything else would violate write-at-most-once semantics.
# Behaviour: a member without a leader answers a put with DeadlineExceeded after its own request
#   timeout. clientv3 takes that code, while the caller's context has time left, for a timeout of
#   its own attempt and sends the put again, until the caller's deadline ends.
# For users: one call of Put is several requests, without any sign of it to the caller. etcd
#   proposes none of them in this case, because there is no leader to propose to; but a server or
#   proxy that answers DeadlineExceeded after it accepted a write gets the write twice. A deadline
#   of its own bounds the call; without one, Put is sent up to 100 times.
# Known: etcd issue 18424 doubts that this retry is safe; a maintainer concludes there that a client
#   never sees such an error from a server. It does here.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   request timeout of the server: 5.4s; deadline of the caller: 14s
#   Put sent, attempt 1: DeadlineExceeded, caller still waits: true
#   Put sent, attempt 2: DeadlineExceeded, caller still waits: true
#   Put sent, attempt 3: DeadlineExceeded, caller still waits: false
#   client.Put returned: context deadline exceeded
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// calls records the status of each Put that left the client, and whether its caller still waited.
type calls struct {
	caller context.Context
	codes  []codes.Code
	waited []bool
}

type methodKey struct{}

func (c *calls) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, methodKey{}, info.FullMethodName)
}

func (c *calls) HandleRPC(ctx context.Context, s stats.RPCStats) {
	if end, ok := s.(*stats.End); ok && ctx.Value(methodKey{}) == "/etcdserverpb.KV/Put" {
		c.codes = append(c.codes, status.Code(end.Error))
		c.waited = append(c.waited, c.caller.Err() == nil)
	}
}

func (c *calls) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (c *calls) HandleConn(context.Context, stats.ConnStats)                       {}

func main() {
	member := minority()
	ctx, cancel := context.WithTimeout(context.Background(), 14*time.Second)
	defer cancel()
	sent := &calls{caller: ctx}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:   []string{member.Clients[0].Addr().String()},
		DialOptions: []grpc.DialOption{grpc.WithStatsHandler(sent)},
		Logger:      zap.NewNop(),
	})
	check(err)
	_, err = client.Put(ctx, "k", "v")

	timeout := member.Server.Cfg.ReqTimeout()
	fmt.Printf("request timeout of the server: %v; deadline of the caller: 14s\n", timeout)
	for i, code := range sent.codes {
		fmt.Printf("Put sent, attempt %d: %v, caller still waits: %t\n", i+1, code, sent.waited[i])
	}
	fmt.Printf("client.Put returned: %v\n", err)
	if len(sent.codes) < 2 || sent.codes[0] != codes.DeadlineExceeded || !sent.waited[0] {
		fmt.Println("CHANGED: the finding does not hold")
		os.Exit(1)
	}
}

// minority starts three members, stops two of them, and returns the third once it has no leader.
func minority() *embed.Etcd {
	names := []string{"a", "b", "c"}
	var peers []url.URL
	var cluster []string
	var free []net.Listener // kept until all ports are chosen, so that they differ
	for _, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		check(err)
		peers = append(peers, url.URL{Scheme: "http", Host: listener.Addr().String()})
		cluster = append(cluster, name+"=http://"+listener.Addr().String())
		free = append(free, listener)
	}
	for _, listener := range free {
		check(listener.Close())
	}
	var members []*embed.Etcd
	for i, name := range names {
		cfg := embed.NewConfig()
		cfg.Name, cfg.Dir, cfg.LogLevel = name, "data-"+name, "fatal"
		cfg.TickMs, cfg.ElectionMs = 20, 200
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers[i:i+1], peers[i:i+1]
		cfg.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
		cfg.InitialCluster = strings.Join(cluster, ",")
		member, err := embed.StartEtcd(cfg)
		check(err)
		members = append(members, member)
	}
	for _, member := range members {
		<-member.Server.ReadyNotify()
	}
	members[1].Close()
	members[2].Close()
	for members[0].Server.Leader() != 0 {
		time.Sleep(10 * time.Millisecond)
	}
	return members[0]
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
EOF
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get go.etcd.io/etcd/server/v3@v3.7.3 >get.log 2>&1 || { cat get.log; exit 1; }
go build -o finding .
timeout 120 ./finding
