//go:build depskeep

// Package troupe: this file only keeps modules in go.mod until their users have landed; remove it then.
package troupe

import (
	_ "github.com/anishathalye/porcupine"
	_ "github.com/asynkron/protoactor-go/actor"
	_ "github.com/asynkron/protoactor-go/remote"
	_ "github.com/cockroachdb/pebble/v2"
	_ "github.com/prometheus/client_golang/prometheus/promhttp"
	_ "github.com/rs/zerolog"
	_ "github.com/spf13/cobra"
	_ "go.etcd.io/etcd/api/v3/etcdserverpb"
	_ "go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	_ "golang.org/x/sys/unix"
	_ "google.golang.org/grpc"
	_ "pgregory.net/rapid"
)
