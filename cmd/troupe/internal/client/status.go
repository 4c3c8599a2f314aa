package client

import (
	"context"
	"crypto/tls"
	"fmt"
	"sort"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
)

// MemberStatus is one member as it was found.
type MemberStatus struct {
	ID       uint64
	Name     string
	Endpoint string
	Learner  bool
	// Status is nil when the member could not be asked; Err says why.
	Status *pb.StatusResponse
	Err    error
}

// Role is "leader", "follower", "learner", or "" for a member that could not be asked.
func (m MemberStatus) Role() string {
	switch {
	case m.Status == nil:
		return ""
	case m.Status.Leader != 0 && m.Status.Leader == m.Status.Header.GetMemberId():
		return "leader"
	case m.Status.IsLearner:
		return "learner"
	}
	return "follower"
}

// Statuses asks every member of the cluster for its status, all at once. The list of members comes from the endpoints;
// where none has one, the endpoints themselves are asked.
func (c *Cluster) Statuses(ctx context.Context) ([]MemberStatus, error) {
	members, err := c.members(ctx)
	if err != nil {
		return nil, err
	}
	var asked sync.WaitGroup
	for i := range members {
		asked.Add(1)
		go func() {
			defer asked.Done()
			queryStatus(ctx, &members[i], c.tls)
		}()
	}
	asked.Wait()
	sort.SliceStable(members, func(i, j int) bool { return members[i].Name < members[j].Name })
	return members, nil
}

// members lists who to ask. The list is asked for without a round through the leader: status is what one looks at when
// there is none.
func (c *Cluster) members(ctx context.Context) ([]MemberStatus, error) {
	var list *pb.MemberListResponse
	err := c.Read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		list, err = pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: false})
		return err
	})
	if err != nil {
		return nil, err
	}
	var members []MemberStatus
	for _, m := range list.Members {
		one := MemberStatus{ID: m.ID, Name: m.Name, Learner: m.IsLearner}
		if len(m.ClientURLs) > 0 {
			one.Endpoint = m.ClientURLs[0]
		}
		members = append(members, one)
	}
	return members, nil
}

func queryStatus(ctx context.Context, m *MemberStatus, config *tls.Config) {
	if m.Endpoint == "" {
		m.Err = fmt.Errorf("has not told its client URLs yet")
		return
	}
	endpoint, err := parseEndpoint(m.Endpoint, false)
	if err != nil {
		m.Err = err
		return
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn, err := dial(ctx, endpoint, config)
	if err != nil {
		m.Err = err
		return
	}
	defer conn.Close()
	if m.Status, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}); err != nil {
		m.Err = fmt.Errorf("%s: %s", endpoint, plainText(err))
	}
}
