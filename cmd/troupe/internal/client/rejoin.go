package client

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/messages"
	"github.com/troupe-raft/troupe/raft"
)

// FindMember returns the member with a name or an id.
func FindMember(members []MemberStatus, nameOrID string) (MemberStatus, error) {
	id, err := strconv.ParseUint(nameOrID, 0, 64)
	var names []string
	for _, m := range members {
		if m.Name == nameOrID || err == nil && m.ID == id {
			return m, nil
		}
		names = append(names, fmt.Sprintf("%s (%s)", m.Name, raft.FormatID(m.ID)))
	}
	return MemberStatus{}, fmt.Errorf("there is no member %q: the members are %s", nameOrID, strings.Join(names, ", "))
}

// RejoinMember has the leader record the new data directory of a member, and returns its storage
// id. If storageID is empty, it is the one that the member asked to rejoin with.
func (c *Cluster) RejoinMember(ctx context.Context, members []MemberStatus, id uint64, storageID string) (string, error) {
	for _, m := range members {
		if m.Role() != "leader" {
			continue
		}
		endpoint, err := parseEndpoint(m.Endpoint, false)
		if err != nil {
			return "", err
		}
		conn, err := dial(ctx, endpoint, c.tls)
		if err != nil {
			return "", err
		}
		defer conn.Close()
		response := &messages.MemberRejoinResponse{}
		err = conn.Invoke(ctx, kv.MemberRejoinMethod, &messages.MemberRejoinRequest{MemberId: id, StorageId: storageID}, response)
		if err != nil {
			return "", &RefusedError{endpoint.String(), err}
		}
		return response.GetStorageId(), nil
	}
	return "", errors.New("no member leads: a majority of the members must be running without the one that rejoins")
}
