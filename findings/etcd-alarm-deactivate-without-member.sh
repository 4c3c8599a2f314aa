#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3) and its clientv3, one member.
# Guess: an AlarmRequest that deactivates NOSPACE and has member id 0 disarms NOSPACE of all
#   members. The comment at AlarmRequest in etcd's rpc.proto: "If memberID is 0, the alarm request
#   covers all members."
# Behaviour: etcd returns no error and disarms nothing; puts are refused as before. clientv3's
#   AlarmDisarm with an alarm type and no member id sends that request too.
# For users: after space was freed, a script that disarms by type believes that it succeeded, and
#   the cluster still refuses writes. Send the member ids of an Alarm GET ("etcdctl alarm disarm"
#   does), or look at the alarms in the response: none there means that none was disarmed.
# Known: no issue found. In Troupe an alarm ends with its cause and needs no disarming:
#   docs/etcd-api.md.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   DEACTIVATE NOSPACE without a member: error <nil>, disarmed 0
#     a put then: etcdserver: mvcc: database space exceeded
#   clientv3 AlarmDisarm NOSPACE without a member: error <nil>, disarmed 0
#     a put then: etcdserver: mvcc: database space exceeded
#   GET NOSPACE: alarms 1
#   DEACTIVATE NOSPACE with the member's id: error <nil>, disarmed 1
#     a put then: <nil>
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

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

func main() {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = "data", "fatal"
	free := []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenClientUrls, cfg.ListenPeerUrls = free, free
	server, err := embed.StartEtcd(cfg)
	check(err)
	defer server.Close()
	<-server.Server.ReadyNotify()
	client, err := clientv3.New(clientv3.Config{
		Endpoints: []string{server.Clients[0].Addr().String()}, Logger: zap.NewNop()})
	check(err)
	defer client.Close()
	ctx := context.Background()
	member := uint64(server.Server.MemberID())

	maintenance := pb.NewMaintenanceClient(client.ActiveConnection())
	alarm := func(action pb.AlarmRequest_AlarmAction, member uint64) (*pb.AlarmResponse, error) {
		return maintenance.Alarm(ctx,
			&pb.AlarmRequest{Action: action, MemberID: member, Alarm: pb.AlarmType_NOSPACE})
	}
	_, err = alarm(pb.AlarmRequest_ACTIVATE, member)
	check(err)
	raw, rawErr := alarm(pb.AlarmRequest_DEACTIVATE, 0)
	_, putAfterRaw := client.Put(ctx, "k", "v")
	library, libraryErr := client.AlarmDisarm(ctx,
		&clientv3.AlarmMember{Alarm: pb.AlarmType_NOSPACE})
	_, putAfterLibrary := client.Put(ctx, "k", "v")
	left, err := alarm(pb.AlarmRequest_GET, 0)
	check(err)
	named, err := alarm(pb.AlarmRequest_DEACTIVATE, member)
	check(err)
	_, putAfterNamed := client.Put(ctx, "k", "v")

	say := func(call string, err error, disarmed int, put error) {
		fmt.Printf("%s: error %v, disarmed %d\n  a put then: %v\n", call, err, disarmed, put)
	}
	say("DEACTIVATE NOSPACE without a member", rawErr, len(raw.GetAlarms()), putAfterRaw)
	say("clientv3 AlarmDisarm NOSPACE without a member", libraryErr, len(library.Alarms), putAfterLibrary)
	fmt.Printf("GET NOSPACE: alarms %d\n", len(left.Alarms))
	say("DEACTIVATE NOSPACE with the member's id", err, len(named.Alarms), putAfterNamed)
	if rawErr != nil || libraryErr != nil || putAfterRaw == nil || putAfterLibrary == nil ||
		len(left.Alarms) != 1 || len(named.Alarms) != 1 || putAfterNamed != nil {
		server.Close()
		fmt.Println("CHANGED: the finding does not hold")
		os.Exit(1)
	}
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
timeout 60 ./finding
