package demo

import (
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
)

// leadership is an observation that a member leads.
type leadership struct {
	member string
	term   uint64
	at     time.Time
}

// leaderPollInterval is the time between two status requests to a member. It bounds the precision
// of the printed times without a leader.
const leaderPollInterval = 25 * time.Millisecond

// watchLeader requests the status of every member, as any client could, and sends each new leader
// to leaders once.
func watchLeader(ctx context.Context, members []Member, leaders chan<- leadership) {
	seen := make(chan leadership)
	for _, m := range members {
		go pollLeader(ctx, m, seen)
	}
	var term uint64
	for {
		select {
		case l := <-seen:
			if l.term <= term {
				continue
			}
			term = l.term
			select {
			case leaders <- l:
			case <-ctx.Done():
				return
			}
		case <-ctx.Done():
			return
		}
	}
}

// pollLeader requests the status of one member repeatedly and sends to seen when that member leads.
func pollLeader(ctx context.Context, m Member, seen chan<- leadership) {
	endpoints, err := client.ParseEndpoints(m.Endpoint(), false)
	if err != nil {
		return
	}
	cluster := client.New(endpoints, nil)
	defer cluster.Close()
	ticker := time.NewTicker(leaderPollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		l, leads := queryLeader(ctx, cluster, m)
		if !leads {
			continue
		}
		select {
		case seen <- l:
		case <-ctx.Done():
			return
		}
	}
}

func queryLeader(ctx context.Context, cluster *client.Cluster, m Member) (leadership, bool) {
	ctx, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	var status *pb.StatusResponse
	err := cluster.Read(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		status, err = pb.NewMaintenanceClient(conn).Status(ctx, &pb.StatusRequest{})
		return err
	})
	if err != nil || status.Leader == 0 || status.Leader != status.Header.GetMemberId() {
		return leadership{}, false
	}
	return leadership{m.Name, status.RaftTerm, time.Now()}, true
}
