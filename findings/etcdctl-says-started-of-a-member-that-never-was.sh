#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3) and etcdctl 3.7.3; a static cluster of
#   three members, of which the third is never started.
# Guess: "etcdctl member list" shows the third as "unstarted" and without a name, as it shows a
#   member that was added and did not start yet.
# Behaviour: it is "started", with its name; only its client URLs are missing. The names are those
#   of --initial-cluster, and etcdctl takes a member with a name for a started one.
# For users: after the creation of a cluster, a script that waits for, or alerts on, "unstarted"
#   never sees a member that did not come up. Look for members without client URLs.
# Known: no issue found. Troupe's member list has the same names and no client URLs; "troupe status"
#   says of each member whether it is reached: docs/operations.md.
# Output seen on 2026-12-01 (go1.26.8, linux/amd64):
#   a, started, has client URLs
#   b, started, has client URLs
#   c, started, no client URLs
#   added later: "", unstarted, no client URLs
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
	"os/exec"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

func main() {
	var cluster []string
	var peers []url.URL
	for _, name := range []string{"a", "b", "c"} {
		peer := freeURL()
		peers = append(peers, peer)
		cluster = append(cluster, name+"="+peer.String())
	}
	var servers []*embed.Etcd
	for i, name := range []string{"a", "b"} {
		cfg := embed.NewConfig()
		cfg.Name, cfg.Dir, cfg.LogLevel = name, name, "fatal"
		cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = peers[i:i+1], peers[i:i+1]
		client := freeURL()
		cfg.ListenClientUrls, cfg.AdvertiseClientUrls = []url.URL{client}, []url.URL{client}
		cfg.InitialCluster = strings.Join(cluster, ",")
		cfg.StrictReconfigCheck = false // else no member may be added while c is down
		server, err := embed.StartEtcd(cfg)
		check(err)
		defer server.Close()
		servers = append(servers, server)
	}
	for _, s := range servers {
		<-s.Server.ReadyNotify()
	}
	endpoint := servers[0].Clients[0].Addr().String()
	static := list(endpoint)
	for _, name := range []string{"a", "b"} { // client URLs are published after the start
		for deadline := time.Now().Add(30 * time.Second); static[name].clientURLs == ""; {
			if time.Now().After(deadline) {
				log.Fatal("client URLs were not published")
			}
			static = list(endpoint)
		}
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, Logger: zap.NewNop()})
	check(err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	learner := freeURL()
	_, err = client.MemberAddAsLearner(ctx, []string{learner.String()})
	check(err)
	added := list(endpoint)[""]

	urls := map[bool]string{true: "no client URLs", false: "has client URLs"}
	for _, name := range []string{"a", "b", "c"} {
		fmt.Printf("%s, %s, %s\n", name, static[name].status, urls[static[name].clientURLs == ""])
	}
	fmt.Printf("added later: %q, %s, %s\n", "", added.status, urls[added.clientURLs == ""])
	c := static["c"]
	if len(static) != 3 || c.status != "started" || c.clientURLs != "" || added.status != "unstarted" {
		fmt.Println("CHANGED: the finding does not hold")
		os.Exit(1)
	}
}

type member struct{ status, clientURLs string }

// list returns the members as etcdctl lists them, by name.
func list(endpoint string) map[string]member {
	out, err := exec.Command(os.Args[1], "--endpoints", endpoint, "member", "list").Output()
	check(err)
	members := map[string]member{}
	for _, line := range strings.Split(strings.TrimSpace(string(out)), "\n") {
		f := strings.Split(line, ", ") // id, status, name, peer URLs, client URLs, learner
		members[f[2]] = member{f[1], f[4]}
	}
	return members
}

func freeURL() url.URL {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	defer l.Close()
	return url.URL{Scheme: "http", Host: l.Addr().String()}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
EOF
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get go.etcd.io/etcd/server/v3@v3.7.3 go.etcd.io/etcd/etcdctl/v3@v3.7.3 >get.log 2>&1 || { cat get.log; exit 1; }
go build -o finding .
go build -o etcdctl go.etcd.io/etcd/etcdctl/v3
timeout 120 ./finding ./etcdctl
