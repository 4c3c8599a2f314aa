package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/troupe-raft/troupe/kv"
	"github.com/troupe-raft/troupe/raft"
)

// MemberStatus is a member and its response to a status request.
type MemberStatus struct {
	ID       uint64
	Name     string
	Endpoint string
	Learner  bool
	// Version is the version of Troupe and LogBytes the size of its log on disk; "" and -1 for a
	// server that does not report them.
	Version  string
	LogBytes int64
	// Status is nil if the member did not respond; Err then says why.
	Status *pb.StatusResponse
	Err    error
}

// Label returns the member's name, or its id if it has not published a name.
func (m MemberStatus) Label() string {
	if m.Name != "" {
		return "member " + m.Name
	}
	return "member " + raft.FormatID(m.ID)
}

// Role returns "leader", "follower", "learner", or "" for a member that did not respond.
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

// Statuses requests the status of every member of the cluster, of all at once, and returns them in
// the order of their names. The list of members comes from the first endpoint that responds.
func (c *Cluster) Statuses(ctx context.Context) ([]MemberStatus, error) {
	members, err := c.members(ctx)
	if err != nil {
		return nil, err
	}
	var requests sync.WaitGroup
	for i := range members {
		requests.Go(func() { queryStatus(ctx, &members[i], c.tls) })
	}
	requests.Wait()
	sort.SliceStable(members, func(i, j int) bool { return members[i].Name < members[j].Name })
	return members, nil
}

// members requests the member list, from the first endpoint whose member has a leader. One without
// a leader may lack what the others have published, above all one that waits to rejoin; its list is
// used if there is no better one.
func (c *Cluster) members(ctx context.Context) ([]MemberStatus, error) {
	var best memberList
	answered := map[uint64]Endpoint{} // by member
	for range c.endpoints {
		attempt, cancel := ctx, context.CancelFunc(func() {})
		if best.response != nil {
			attempt, cancel = c.attemptContext(ctx, true)
		}
		list, err := c.memberList(attempt)
		cancel()
		if err != nil && best.response == nil {
			return nil, err
		}
		if err != nil {
			break
		}
		answered[list.response.GetHeader().GetMemberId()] = list.from.endpoint
		if best.response == nil || list.led || list.clientURLs() > best.clientURLs() {
			best = list
		}
		if list.led {
			break
		}
		c.drop(list.from)
	}
	var members []MemberStatus
	for _, m := range best.response.Members {
		member := MemberStatus{ID: m.ID, Name: m.Name, Learner: m.IsLearner}
		if len(m.ClientURLs) > 0 {
			member.Endpoint = m.ClientURLs[0]
		} else if endpoint, known := answered[m.ID]; known {
			member.Endpoint = endpoint.String()
		}
		members = append(members, member)
	}
	return members, nil
}

// memberList is a member list of one member.
type memberList struct {
	response *pb.MemberListResponse
	from     *connection
	led      bool // the member has a leader
}

func (l memberList) clientURLs() (known int) {
	for _, m := range l.response.GetMembers() {
		known += len(m.ClientURLs)
	}
	return known
}

// memberList requests the member list of one member, and whether that has a leader. The request is
// serializable, so that it succeeds without one.
func (c *Cluster) memberList(ctx context.Context) (list memberList, err error) {
	err = c.Read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) error {
		response, err := pb.NewClusterClient(conn).MemberList(ctx, &pb.MemberListRequest{Linearizable: false})
		if err != nil {
			return err
		}
		status, err := pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		list = memberList{response, conn.(*connection), status.GetLeader() != 0}
		return err
	})
	return list, err
}

func queryStatus(ctx context.Context, m *MemberStatus, config *tls.Config) {
	if m.Endpoint == "" {
		m.Err = errors.New("its client URLs are not known yet")
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
	var header metadata.MD
	if m.Status, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{}, grpc.Header(&header)); err != nil {
		m.Err = fmt.Errorf("%s: %s", endpoint, plainText(err))
		return
	}
	m.Version = firstValue(header, kv.VersionHeader)
	if m.LogBytes, err = strconv.ParseInt(firstValue(header, kv.LogBytesHeader), 10, 64); err != nil {
		m.LogBytes = -1
	}
}

func firstValue(header metadata.MD, key string) string {
	if values := header.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

// alarmText matches the text by which a status reports an alarm: etcd's, with a decimal id.
var alarmText = regexp.MustCompile(`^memberID:(\d+) alarm:(\w+)$`)

// Alarms returns the names of the alarms that the member reports.
func (m MemberStatus) Alarms() []string {
	var alarms []string
	for _, text := range m.Status.GetErrors() {
		if alarm := alarmText.FindStringSubmatch(text); alarm != nil {
			alarms = append(alarms, alarm[2])
		}
	}
	return alarms
}

// waitsToRejoin returns the text by which a member reports that it waits to rejoin, or "".
func waitsToRejoin(response *pb.StatusResponse) string {
	begin := "member " + raft.FormatID(response.GetHeader().GetMemberId()) + " waits to rejoin "
	for _, text := range response.GetErrors() {
		if text = strings.TrimPrefix(text, ownPrefix); strings.HasPrefix(text, begin) {
			return text
		}
	}
	return ""
}

// Problems returns what the member reports to be wrong, with ids as Troupe writes them. It is empty
// for a member that did not respond.
func (m MemberStatus) Problems() []string {
	var problems []string
	for _, text := range m.Status.GetErrors() {
		text = strings.TrimPrefix(text, ownPrefix)
		if alarm := alarmText.FindStringSubmatch(text); alarm != nil {
			text = "alarm " + alarm[2]
			if id, err := strconv.ParseUint(alarm[1], 10, 64); err == nil && id != m.ID {
				text += " of member " + raft.FormatID(id)
			}
		}
		problems = append(problems, text)
	}
	return problems
}
