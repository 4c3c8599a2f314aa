#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3), one member.
# Guess: listing alarms, users and roles, and asking whether authentication is enabled, are reads:
#   they write nothing.
# Behaviour: each call is proposed, and appended to the Raft log of every member. Get, MemberList
#   and Status append nothing (an entry that etcd writes by itself may come in between).
# For users: "etcdctl endpoint health" lists the alarms of each endpoint after its read, so a probe
#   of it every few seconds writes and syncs the log of every member, and moves snapshots closer.
#   None of these calls works without a majority. Status has the alarms too.
# Known: etcd pull request 14419 knows of it for the list of alarms; nothing found for users.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   entries that 100 calls add to the Raft log:
#   Get 1, MemberList 0, Status 0, AlarmList 100, AuthStatus 100, UserList 100, RoleList 100
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
	"net/url"
	"os"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

func main() {
	server, client := start()
	ctx := context.Background()
	grown := func(call func() error) uint64 {
		before := server.Server.CommittedIndex()
		for range 100 {
			check(call())
		}
		return server.Server.CommittedIndex() - before
	}
	get := grown(func() error { _, err := client.Get(ctx, "k"); return err })
	members := grown(func() error { _, err := client.MemberList(ctx); return err })
	endpoint := client.Endpoints()[0]
	status := grown(func() error { _, err := client.Status(ctx, endpoint); return err })
	alarms := grown(func() error { _, err := client.AlarmList(ctx); return err })
	auth := grown(func() error { _, err := client.AuthStatus(ctx); return err })
	users := grown(func() error { _, err := client.UserList(ctx); return err })
	roles := grown(func() error { _, err := client.RoleList(ctx); return err })

	fmt.Println("entries that 100 calls add to the Raft log:")
	fmt.Printf("Get %d, MemberList %d, Status %d, AlarmList %d, AuthStatus %d, UserList %d, RoleList %d\n",
		get, members, status, alarms, auth, users, roles)
	if max(get, members, status) > 10 || min(alarms, auth, users, roles) < 100 {
		fmt.Println("CHANGED: the finding does not hold")
		os.Exit(1)
	}
}

func start() (*embed.Etcd, *clientv3.Client) {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = "data", "fatal"
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.ListenPeerUrls = free, free
	server, err := embed.StartEtcd(cfg)
	check(err)
	<-server.Server.ReadyNotify()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.Clients[0].Addr().String()}, Logger: zap.NewNop()})
	check(err)
	return server, client
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
