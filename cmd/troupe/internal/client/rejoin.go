package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/grpc"

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
		names = append(names, fmt.Sprintf("%s (%s)", m.Name, raft.FormatID(m.ID)))
	}
	return MemberStatus{}, fmt.Errorf("there is no member %q: the members are %s", nameOrID, strings.Join(names, ", "))
}

// AtLeader makes a call at the leader among members, and returns the leader's id.
func (c *Cluster) AtLeader(ctx context.Context, members []MemberStatus, call func(grpc.ClientConnInterface) error) (uint64, error) {
	for _, m := range members {
		if m.Role() != "leader" {
			continue
		}
		endpoint, err := parseEndpoint(m.Endpoint, false)
		if err != nil {
			return 0, err
		}
		conn, err := dial(ctx, endpoint, c.tls)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		if err := call(conn); err != nil {
			return 0, &RefusedError{endpoint.String(), err}
		}
		return m.ID, nil
	}
	return 0, errNoLeader
}

// RejoinMember has the leader record the new data directory of a member, and returns its storage
// id. If storageID is empty, it is the one that the member asked to rejoin with.
func (c *Cluster) RejoinMember(ctx context.Context, members []MemberStatus, id uint64, storageID string) (string, error) {
	response := &messages.MemberRejoinResponse{}
	_, err := c.AtLeader(ctx, members, func(conn grpc.ClientConnInterface) error {
		return conn.Invoke(ctx, kv.MemberRejoinMethod, &messages.MemberRejoinRequest{MemberId: id, StorageId: storageID}, response)
	})
	if errors.Is(err, errNoLeader) {
		err = fmt.Errorf("%w without the one that rejoins", err)
	}
	return response.GetStorageId(), err
}
