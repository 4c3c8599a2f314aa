package procs

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Config describes a cluster.
type Config struct {
	Program Program
	Size    int // the number of members
	// Dir holds a folder for each member, with its data and its log.
	Dir string
	// Flags are additional flags of every member.
	Flags []string
	// Secure makes all URLs https; Flags must then name the certificates.
	Secure bool
}

// Cluster holds the servers of one cluster, on loopback.
type Cluster struct {
	Program Program
	Members []*Member
}

// NewCluster returns a cluster on free ports, without starting it.
func NewCluster(config Config) (*Cluster, error) {
	ports, err := FreePorts(2 * config.Size)
	if err != nil {
		return nil, err
	}
	c := &Cluster{Program: config.Program}
	members := make([]Member, config.Size)
	initial := make([]string, config.Size)
	scheme := "http"
	if config.Secure {
		scheme = "https"
	}
	for i := range members {
		name := fmt.Sprintf("m%d", i+1)
		dir := filepath.Join(config.Dir, name)
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
		members[i] = Member{
			Name:      name,
			DataDir:   filepath.Join(dir, "data"),
			LogPath:   filepath.Join(dir, "log"),
			ClientURL: fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i]),
			PeerURL:   fmt.Sprintf("%s://127.0.0.1:%d", scheme, ports[2*i+1]),
		}
		initial[i] = name + "=" + members[i].PeerURL
	}
	flags := append([]string{
		"--initial-cluster=" + strings.Join(initial, ","),
		"--initial-cluster-state=new",
		"--initial-cluster-token=" + filepath.Base(config.Dir),
	}, config.Flags...)
	for _, m := range members {
		c.Members = append(c.Members, NewMember(config.Program, m, flags...))
	}
	return c, nil
}

// StartCluster starts a cluster and waits until every member is ready and all follow one leader.
func StartCluster(ctx context.Context, config Config) (*Cluster, error) {
	c, err := NewCluster(config)
	if err != nil {
		return nil, err
	}
	if err := c.Start(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// Start launches all members and waits until they are ready and follow one leader.
func (c *Cluster) Start(ctx context.Context) error {
	for _, m := range c.Members {
		if err := m.Launch(); err != nil {
			return err
		}
	}
	for _, m := range c.Members {
		if err := m.Ready(ctx); err != nil {
			return err
		}
	}
	_, err := c.Leader(ctx)
	return err
}

// Close kills the members that still run.
func (c *Cluster) Close() error {
	var errs []error
	for _, m := range c.Members {
		if m.Running() {
			errs = append(errs, m.Kill())
		}
	}
	return errors.Join(errs...)
}

// Endpoints returns the client addresses of all members.
func (c *Cluster) Endpoints() []string {
	endpoints := make([]string, len(c.Members))
	for i, m := range c.Members {
		endpoints[i] = m.Endpoint()
	}
	return endpoints
}

// Usage returns the sum over the running members.
func (c *Cluster) Usage() (Usage, error) {
	var sum Usage
	for _, m := range c.Members {
		if !m.Running() {
			continue
		}
		u, err := m.Process().Usage()
		if err != nil {
			return Usage{}, fmt.Errorf("member %s: %w", m.Name, err)
		}
		sum = sum.Add(u)
	}
	return sum, nil
}

// Dial returns a client for these endpoints. It logs nothing and never changes its endpoints.
func Dial(endpoints ...string) (*clientv3.Client, error) { return DialTLS(nil, endpoints...) }

// DialTLS is Dial with TLS.
func DialTLS(config *tls.Config, endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		TLS:         config,
		DialTimeout: 20 * time.Second,
		Logger:      zap.NewNop(),
	})
}

// pollInterval is the time between two status requests.
const pollInterval = 10 * time.Millisecond

// Leader waits until every running member follows the same leader, which is a running member, and
// returns it. If members are paused, call LeaderOf with the others.
func (c *Cluster) Leader(ctx context.Context) (*Member, error) {
	var running []*Member
	for _, m := range c.Members {
		if m.Running() {
			running = append(running, m)
		}
	}
	return LeaderOf(ctx, running)
}

// LeaderOf waits until these members follow the same leader, which is one of them, and returns it.
func LeaderOf(ctx context.Context, members []*Member) (*Member, error) {
	clients := make([]*clientv3.Client, len(members))
	for i, m := range members {
		client, err := Dial(m.Endpoint())
		if err != nil {
			return nil, err
		}
		defer client.Close()
		clients[i] = client
	}
	poll := time.NewTicker(pollInterval)
	defer poll.Stop()
	for {
		leader, reason := commonLeader(ctx, members, clients)
		if leader != nil {
			return leader, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a common leader of %d members: %w; %s", len(members), ctx.Err(), reason)
		}
	}
}

// commonLeader returns the leader that all members follow, or nil and the reason.
func commonLeader(ctx context.Context, members []*Member, clients []*clientv3.Client) (leader *Member, reason string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var common uint64
	for i, m := range members {
		status, err := clients[i].Status(ctx, m.Endpoint())
		switch {
		case err != nil:
			return nil, fmt.Sprintf("status of %s: %v", m.Name, err)
		case status.Leader == 0:
			return nil, m.Name + " has no leader"
		case common != 0 && status.Leader != common:
			return nil, fmt.Sprintf("%s follows %x, another member %x", m.Name, status.Leader, common)
		}
		common = status.Leader
		if status.Leader == status.Header.MemberId {
			leader = m
		}
	}
	return leader, fmt.Sprintf("all follow %x, which is not one of them", common)
}
