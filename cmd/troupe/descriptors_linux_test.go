package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/tests/freeport"
)

// descriptorLine is the log line about the limit of open files.
type descriptorLine struct {
	Level       string
	Limit       uint64 `json:"descriptor-limit"`
	Connections int    `json:"client-connections"`
	Advice      string
}

// launchWithin starts the member with a soft and a hard limit of open files.
func (s *singleMember) launchWithin(soft, hard int, flags ...string) *process {
	s.t.Helper()
	binary, err := os.Executable()
	if err != nil {
		s.t.Fatal(err)
	}
	script := fmt.Sprintf(`ulimit -S -n %d && ulimit -H -n %d && exec "$0" "$@"`, soft, hard)
	args := append([]string{"-c", script, binary, "server"}, append(append([]string{}, s.flags...), flags...)...)
	return startCommand(s.t, exec.Command("sh", args...), "troupe", nil)
}

func (p *process) descriptorLine() descriptorLine {
	p.t.Helper()
	var line descriptorLine
	if err := json.Unmarshal([]byte(p.waitFor(`"msg":"open files and connections are limited"`)), &line); err != nil {
		p.t.Fatal(err)
	}
	return line
}

func TestSoftDescriptorLimitIsRaisedToHard(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	p := s.launchWithin(256, 4096)
	line := p.descriptorLine()
	p.waitFor(`"msg":"ready to serve client requests"`)
	// Go's runtime leaves out one.
	if line.Limit < 4095 || line.Connections < 2000 || line.Connections > 4096-1000 {
		t.Errorf("%+v", line)
	}
	if soft := openFilesLimit(t, p.cmd.Process.Pid); soft < 4095 {
		t.Errorf("the process may open %d files, want the hard limit of 4096", soft)
	}
}

func TestTooLowDescriptorLimitIsRefused(t *testing.T) {
	t.Parallel()
	s := newSingleMember(t)
	mustExit(t, s.launchWithin(100, 100), exit.Usage, "may open 100 files", "LimitNOFILE")
	if _, err := os.Stat(s.dataDir); err == nil {
		t.Error("a data directory was created")
	}
}

// TestConnectionsLeaveDescriptorsForStore opens more connections of every kind than the process may
// open files, and writes enough that log and store open new files meanwhile.
func TestConnectionsLeaveDescriptorsForStore(t *testing.T) {
	t.Parallel()
	const limit = 320
	s := newSingleMember(t)
	metrics := fmt.Sprintf("127.0.0.1:%d", freeport.Take(t, 1)[0])
	p := s.launchWithin(limit, limit, "--listen-metrics-urls=http://"+metrics)
	line := p.descriptorLine()
	p.waitFor(`"msg":"ready to serve client requests"`)
	if line.Level != "warn" || line.Limit != limit || line.Connections >= limit || line.Advice == "" {
		t.Errorf("%+v", line)
	}
	endpoint, err := client.ParseEndpoints(s.endpoint, false)
	if err != nil {
		t.Fatal(err)
	}
	cluster := client.New(endpoint, nil)
	defer cluster.Close()
	put(t, cluster, "first", 1)

	peers := strings.TrimPrefix(s.flags[3], "--listen-peer-urls=http://")
	const preface, request = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00", "GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
	var flood []net.Conn
	for range limit {
		flood = append(flood, openConnection(t, s.endpoint, preface), openConnection(t, s.endpoint, request),
			openConnection(t, metrics, request), openConnection(t, peers, preface))
	}
	p.waitFor(`"msg":"client connection limit reached"`)
	p.waitFor(`"msg":"metrics connection limit reached"`)
	p.waitFor(`"msg":"peer connection limit reached"`)
	tables := filepath.Join(s.dataDir, "kv", "*.sst")
	for i := 0; i < 8 || len(glob(t, tables)) < 2; i++ {
		put(t, cluster, fmt.Sprint("key", i), 1<<20)
	}
	if used := openFiles(t, p.cmd.Process.Pid); used > limit {
		t.Errorf("%d files are open", used)
	}
	for _, c := range flood {
		_ = c.Close()
	}
	if text := scrape(t, "http://"+metrics+"/metrics"); !regexp.MustCompile(`troupe_client_connections_rejected_total [1-9]`).MatchString(text) ||
		!regexp.MustCompile(`troupe_peer_connections_rejected_total [1-9]`).MatchString(text) {
		t.Errorf("rejected connections are not counted:\n%s", text)
	}
	p.signal(syscall.SIGTERM)
	if code, _ := p.wait(); code != 0 {
		t.Errorf("code %d after SIGTERM", code)
	}
}

func put(t *testing.T, cluster *client.Cluster, key string, bytes int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	value := make([]byte, bytes)
	for i := range value {
		value[i] = byte(rand.Uint32()) // the store cannot compress it
	}
	if err := cluster.Write(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key), Value: value})
		return err
	}); err != nil {
		t.Fatalf("put %s: %v", key, err)
	}
}

func glob(t *testing.T, pattern string) []string {
	t.Helper()
	paths, err := filepath.Glob(pattern)
	if err != nil {
		t.Fatal(err)
	}
	return paths
}

// openFiles returns how many files a process has open.
func openFiles(t *testing.T, pid int) int {
	t.Helper()
	return len(glob(t, fmt.Sprintf("/proc/%d/fd/*", pid)))
}

// openFilesLimit returns the soft limit of open files of a process.
func openFilesLimit(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	match := regexp.MustCompile(`Max open files +(\d+)`).FindSubmatch(text)
	if match == nil {
		t.Fatalf("no limit of open files in\n%s", text)
	}
	limit, err := strconv.Atoi(string(match[1]))
	if err != nil {
		t.Fatal(err)
	}
	return limit
}
