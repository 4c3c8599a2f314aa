#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3) with the
#   go-grpc-middleware/providers/prometheus that it requires.
# Guess: grpc_server_msg_sent_total counts messages that the server sent. A unary call that fails
#   sends a status and no message.
# Behaviour: it counts one message for each failed unary call too.
# For users: for unary methods the counter is the number of calls that ended, and says nothing
#   about responses. Successful ones are grpc_server_handled_total{grpc_code="OK"}.
# Known: no issue found.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   after ten reads of a future revision, for the method Range:
#   handled with OK: 0
#   handled with OutOfRange: 10
#   messages sent: 10
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
	"net/http"
	"net/url"
	"os"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"
)

func main() {
	server, client := start()
	metrics := "http://" + server.Clients[0].Addr().String() + "/metrics"
	for range 10 {
		// A revision that the store has not reached: etcd answers with a status and no message.
		_, err := client.Get(context.Background(), "k", clientv3.WithRev(1000000))
		if !errors.Is(err, rpctypes.ErrFutureRev) {
			log.Fatal(err)
		}
	}
	text := get(metrics)
	ok := value(text, `grpc_server_handled_total{grpc_code="OK",grpc_method="Range"`)
	failed := value(text, `grpc_server_handled_total{grpc_code="OutOfRange",grpc_method="Range"`)
	sent := value(text, `grpc_server_msg_sent_total{grpc_method="Range"`)
	fmt.Println("after ten reads of a future revision, for the method Range:")
	fmt.Printf("handled with OK: %s\nhandled with OutOfRange: %s\nmessages sent: %s\n", ok, failed, sent)
	if ok != "0" || failed != "10" || sent != "10" {
		fmt.Println("CHANGED: the finding does not hold")
		os.Exit(1)
	}
}

// value returns the value of the series that begins like start.
func value(text, start string) string {
	for line := range strings.SplitSeq(text, "\n") {
		if strings.HasPrefix(line, start) {
			return line[strings.LastIndex(line, " ")+1:]
		}
	}
	return "no series"
}

func get(address string) string {
	response, err := http.Get(address)
	check(err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	check(err)
	return string(text)
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
