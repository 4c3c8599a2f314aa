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

// Config says which cluster to start.
type Config struct {
	Program Program
	Size    int
	// Dir holds a folder a member: its data and its log.
	Dir string
	// Flags for every member, beside those a cluster needs.
	Flags []string
	// Secure makes https of all URLs; the certificates are up to flags.
	Secure bool
}

// Cluster is servers that know each other, on loopback.
type Cluster struct {
	Program Program
	Members []*Member
}

// NewCluster describes a cluster, on free ports, that is not started yet.
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

// StartCluster starts a cluster and waits until every member serves and all follow one leader.
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

// Start launches all members and waits until they serve and follow one leader.
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

// Close kills what is still running.
func (c *Cluster) Close() error {
	var errs []error
	for _, m := range c.Members {
		if m.Running() {
			errs = append(errs, m.Kill())
		}
	}
	return errors.Join(errs...)
}

// Endpoints are the client addresses of all members.
func (c *Cluster) Endpoints() []string {
	endpoints := make([]string, len(c.Members))
	for i, m := range c.Members {
		endpoints[i] = m.Endpoint()
	}
	return endpoints
}

// Usage is the sum over the running members.
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

// Dial returns a client of these endpoints, silent and without an automatic change of them.
func Dial(endpoints ...string) (*clientv3.Client, error) { return DialTLS(nil, endpoints...) }

// DialTLS is Dial under TLS.
func DialTLS(config *tls.Config, endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		Endpoints:   endpoints,
		TLS:         config,
		DialTimeout: 20 * time.Second,
		Logger:      zap.NewNop(),
	})
}

// pollInterval is how often a cluster is asked for something that it does not tell by itself.
const pollInterval = 10 * time.Millisecond

// Leader waits until every running member follows the same leader, itself a running member, and
// returns it. Paused members must not be asked: pass those that answer to LeaderOf instead.
func (c *Cluster) Leader(ctx context.Context) (*Member, error) {
	var running []*Member
	for _, m := range c.Members {
		if m.Running() {
			running = append(running, m)
		}
	}
	return LeaderOf(ctx, running)
}

// LeaderOf waits until these members all follow the same leader, which is one of them.
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
		leader, why := commonLeader(ctx, members, clients)
		if leader != nil {
			return leader, nil
		}
		select {
		case <-poll.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("waiting for a common leader of %d members: %w; %s", len(members), ctx.Err(), why)
		}
	}
}

func commonLeader(ctx context.Context, members []*Member, clients []*clientv3.Client) (leader *Member, why string) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	var common uint64
	for i, m := range members {
		status, err := clients[i].Status(ctx, m.Endpoint())
		switch {
		case err != nil:
			return nil, fmt.Sprintf("%s answers %v", m.Name, err)
		case status.Leader == 0:
			return nil, m.Name + " knows no leader"
		case common != 0 && status.Leader != common:
			return nil, fmt.Sprintf("%s follows %x, another %x", m.Name, status.Leader, common)
		}
		common = status.Leader
		if status.Leader == status.Header.MemberId {
			leader = m
		}
	}
	return leader, fmt.Sprintf("all follow %x, which is none of them", common)
}
