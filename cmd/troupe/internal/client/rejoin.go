package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// FindMember returns the member with a name or an id, which may be written as Troupe, as etcd's
// tools (without 0x) or in decimal.
func FindMember(members []MemberStatus, nameOrID string) (MemberStatus, error) {
	id := strings.ToLower(nameOrID)
	var names []string
	for _, m := range members {
		if m.Name == nameOrID || id == raft.FormatID(m.ID) || id == raft.EtcdID(m.ID) || id == strconv.FormatUint(m.ID, 10) {
			return m, nil
		}
		name := m.Name
		if name == "" {
			name = "one without a name"
		}
		names = append(names, fmt.Sprintf("%s (%s)", name, raft.FormatID(m.ID)))
	}
	return MemberStatus{}, fmt.Errorf("there is no member %q: the members are %s", nameOrID, strings.Join(names, ", "))
}

// AtLeader makes a call at the leader among members, and returns the leader's id. If there is none,
// or if it does not lead any more, it asks all members again until the context ends. If all members
// of the endpoints wait to rejoin, it returns at once.
func (c *Cluster) AtLeader(ctx context.Context, members []MemberStatus, call func(grpc.ClientConnInterface) error) (uint64, error) {
	for {
		leader, err := findLeader(members)
		if err == nil {
			err = c.at(ctx, leader, call)
		}
		var none *NoLeaderError
		if err == nil || !errors.As(err, &none) && rpctypes.Error(err) != rpctypes.ErrNotLeader {
			return leader.ID, err
		}
		if none != nil && none.allWait() && len(none.Asked) == len(c.endpoints) || !sleep(ctx, retryPause) {
			return 0, err
		}
		if again, queryErr := c.Statuses(ctx); queryErr == nil {
			members = again
		}
	}
}

// at makes a call at a member.
func (c *Cluster) at(ctx context.Context, m MemberStatus, call func(grpc.ClientConnInterface) error) error {
	endpoint, err := parseEndpoint(m.Endpoint, false)
	if err != nil {
		return err
	}
	conn, err := dial(ctx, endpoint, c.tls)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = call(conn)
	switch {
	case err == nil:
		return nil
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		// gRPC's error may be another one, since the server's timer ends the call too.
		return &TimeoutError{endpoint, status.FromContextError(ctx.Err()).Err()}
	}
	return &RefusedError{endpoint.String(), err}
}

// findLeader returns the leader of the highest term: one that was cut off may not know of the next.
func findLeader(members []MemberStatus) (leader MemberStatus, err error) {
	none := &NoLeaderError{}
	for _, m := range members {
		if m.Role() == "leader" && m.Status.GetRaftTerm() >= leader.Status.GetRaftTerm() {
			leader = m
		}
		if endpoint, err := parseEndpoint(m.Endpoint, false); err == nil && m.Status != nil {
			none.addStatus(endpoint, m.Status)
		}
	}
	if leader.Status == nil {
		return leader, none
	}
	return leader, nil
}

// RejoinMember has the leader record the new data directory of a member.
func (c *Cluster) RejoinMember(ctx context.Context, members []MemberStatus, request *messages.MemberRejoinRequest) (*messages.MemberRejoinResponse, error) {
	response := &messages.MemberRejoinResponse{}
	_, err := c.AtLeader(ctx, members, func(conn grpc.ClientConnInterface) error {
		return conn.Invoke(ctx, kv.MemberRejoinMethod, request, response)
	})
	if code := status.Code(err); code == codes.DeadlineExceeded || code == codes.Unavailable {
		err = fmt.Errorf("%w: a majority of the members must be running without the one that rejoins; run the command again, "+
			"which changes nothing if it has succeeded meanwhile", err)
	}
	return response, err
}
