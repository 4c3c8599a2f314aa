#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3), one member.
# Guess: KV.RangeStream returns what KV.Range returns for the same request, in pieces. The comment
#   at RangeStreamResponse in etcd's rpc.proto says so: merged, the pieces are the response of
#   Range.
# Behaviour: A request with a sort target other than KEY and without a sort order is accepted. etcd
#   sorts each piece by itself and continues after the key that came last in that order, which need
#   not be the greatest key of the piece. Above ten keys (the size of the first piece) the stream
#   leaves out some keys and repeats others, is not sorted, and its count is wrong.
# For users: "etcdctl get --prefix '' --stream --sort-by VALUE" sends this request. Stream in the
#   order of keys and sort in the client, or use Range. etcd refuses the same target with an order
#   ("RangeStream does not support custom sort orders").
# Known: no issue found. Troupe sorts the whole range first: docs/etcd-api.md.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   stored: 30 keys
#   Range: 30 keys, count 30
#   RangeStream: 38 keys, count 38, sorted by value: false
#   missing from the stream: [k04 k17]
#   repeated in the stream: [k09 k10 k22 k23 k24 k25 k26 k27 k28 k29]
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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

	// Thirty keys; the value orders them otherwise than the key.
	for i := range 30 {
		_, err := client.Put(ctx, fmt.Sprintf("k%02d", i), fmt.Sprintf("%02d", i*7%30))
		check(err)
	}
	kv := pb.NewKVClient(client.ActiveConnection())
	request := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), SortTarget: pb.RangeRequest_VALUE}
	unary, err := kv.Range(ctx, request)
	check(err)
	stream, err := kv.RangeStream(ctx, request)
	check(err)
	seen, streamed, sorted, count := map[string]int{}, 0, true, int64(0)
	last := ""
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		check(err)
		for _, pair := range r.RangeResponse.Kvs {
			seen[string(pair.Key)]++
			streamed++
			sorted = sorted && last < string(pair.Value)
			last = string(pair.Value)
		}
		count = r.RangeResponse.Count
	}
	var missing, repeated []string
	for i := range 30 {
		switch key := fmt.Sprintf("k%02d", i); {
		case seen[key] == 0:
			missing = append(missing, key)
		case seen[key] > 1:
			repeated = append(repeated, key)
		}
	}
	fmt.Printf("stored: 30 keys\n")
	fmt.Printf("Range: %d keys, count %d\n", len(unary.Kvs), unary.Count)
	fmt.Printf("RangeStream: %d keys, count %d, sorted by value: %t\n", streamed, count, sorted)
	fmt.Printf("missing from the stream: %v\nrepeated in the stream: %v\n", missing, repeated)
	if len(unary.Kvs) != 30 || len(missing) == 0 || len(repeated) == 0 {
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
