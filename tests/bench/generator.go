package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// loadGenerator is etcd's tools/benchmark.
type loadGenerator struct {
	path string
}

func toolPut(clients, conns, requests int) func(context.Context, *loadGenerator, *filledCluster, float64) (clientFigures, error) {
	return func(ctx context.Context, g *loadGenerator, c *filledCluster, scale float64) (clientFigures, error) {
		return g.run(ctx, c, clients, conns, scaled(requests, scale, clients), "put",
			fmt.Sprintf("--val-size=%d", valueSize), "--key-size=8",
			fmt.Sprintf("--key-space-size=%d", keySpace), "--sequential-keys")
	}
}

// readKey is the key that the tool's ranges read.
const readKey = "bench-read"

func toolRange(consistency string, clients, conns, requests int) func(context.Context, *loadGenerator, *filledCluster, float64) (clientFigures, error) {
	return func(ctx context.Context, g *loadGenerator, c *filledCluster, scale float64) (clientFigures, error) {
		client, err := procs.Dial(c.Endpoints()...)
		if err != nil {
			return clientFigures{}, err
		}
		defer client.Close()
		if _, err := client.Put(ctx, readKey, strings.Repeat("v", valueSize)); err != nil {
			return clientFigures{}, fmt.Errorf("putting the key to read: %w", err)
		}
		return g.run(ctx, c, clients, conns, scaled(requests, scale, clients), "range", readKey,
			"--consistency="+consistency[:1])
	}
}

// scaled returns the number of requests of a shortened run: at least ten for each client, and at
// least 1000, which the tool needs for a p99.
func scaled(requests int, scale float64, clients int) int {
	return max(int(float64(requests)*scale), 10*clients, 1000)
}

// run runs the tool with the endpoints of all members, the leader's first. With one connection the
// tool then always uses the leader.
func (g *loadGenerator) run(ctx context.Context, c *filledCluster, clients, conns, requests int, args ...string) (clientFigures, error) {
	endpoints, err := leaderFirst(ctx, c.Cluster)
	if err != nil {
		return clientFigures{}, err
	}
	args = append(args, "--precise", "--endpoints="+strings.Join(endpoints, ","),
		fmt.Sprintf("--clients=%d", clients), fmt.Sprintf("--conns=%d", conns), fmt.Sprintf("--total=%d", requests))
	p, err := procs.Start(procs.Command{Path: g.path, Args: args, DropStderr: true})
	if err != nil {
		return clientFigures{}, err
	}
	code, err := p.ExitCode(ctx)
	if err != nil {
		return clientFigures{}, errors.Join(fmt.Errorf("load generator: %w", err), p.Kill())
	}
	if code != 0 {
		return clientFigures{}, fmt.Errorf("load generator ended with code %d:\n%s", code, p.Output())
	}
	figures, err := parseToolOutput(p.Output(), requests)
	if err != nil {
		return clientFigures{}, fmt.Errorf("%w in the output of the load generator:\n%s", err, p.Output())
	}
	figures.clientCPU = p.CPU()
	return figures, nil
}

func leaderFirst(ctx context.Context, c *procs.Cluster) ([]string, error) {
	leader, err := c.Leader(ctx)
	if err != nil {
		return nil, err
	}
	endpoints := []string{leader.Endpoint()}
	for _, m := range c.Members {
		if m != leader {
			endpoints = append(endpoints, m.Endpoint())
		}
	}
	return endpoints, nil
}

var (
	toolTotal   = regexp.MustCompile(`(?m)^\s*Total:\s+([0-9.e+-]+) secs`)
	toolLatency = regexp.MustCompile(`(?m)^\s*([0-9.]+)% in ([0-9.e+-]+) secs`)
	toolError   = regexp.MustCompile(`(?m)^\s*\[(\d+)\]\t(.*)$`)
)

// parseToolOutput parses the tool's summary. Its latencies are those of successful requests.
func parseToolOutput(text string, requests int) (clientFigures, error) {
	total := toolTotal.FindStringSubmatch(text)
	if total == nil {
		return clientFigures{}, errors.New("no total")
	}
	elapsed, err := secondsOf(total[1])
	if err != nil {
		return clientFigures{}, err
	}
	figures := clientFigures{requests: requests, elapsed: elapsed}
	for _, line := range toolLatency.FindAllStringSubmatch(text, -1) {
		latency, err := secondsOf(line[2])
		if err != nil {
			return clientFigures{}, err
		}
		switch line[1] {
		case "50":
			figures.p50 = latency
		case "99":
			figures.p99 = latency
		}
	}
	if figures.p50 == 0 || figures.p99 == 0 {
		return clientFigures{}, errors.New("no latencies")
	}
	_, errorLines, _ := strings.Cut(text, "Error distribution:\n")
	for _, line := range toolError.FindAllStringSubmatch(errorLines, -1) {
		failed, err := strconv.Atoi(line[1])
		if err != nil {
			return clientFigures{}, err
		}
		figures.requests -= failed
		figures.failed += failed
		figures.failure = line[2]
	}
	return figures, nil
}

func secondsOf(text string) (time.Duration, error) {
	seconds, err := strconv.ParseFloat(text, 64)
	return time.Duration(seconds * float64(time.Second)), err
}
