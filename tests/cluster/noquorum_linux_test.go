package cluster

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A client with the endpoints of all members uses them in turn. One that is cut off from the others
// must answer, or the requests that it gets wait for the client's deadline, which is long here.
func TestClientLeavesMemberWithoutMajority(t *testing.T) {
	lab := newNetLab(t, 3)
	c := lab.start()
	_, followers := mustLeader(t, c)
	isolated := followers[0]
	watch := dial(t, isolated.Endpoint()).Watch(clientv3.WithRequireLeader(contextWithin(t, time.Minute)), "none", clientv3.WithCreatedNotify())
	if created := <-watch; !created.Created {
		t.Fatalf("the watch: %v", created.Err())
	}
	for i := range c.Members {
		if i != index(c, isolated) {
			lab.dropOneWay(index(c, isolated), i)
			lab.dropOneWay(i, index(c, isolated))
		}
	}
	if ended := <-watch; !errors.Is(ended.Err(), rpctypes.ErrNoLeader) {
		t.Fatalf("the watch of the isolated member: %v", ended.Err())
	}
	client := dial(t, c.Endpoints()...)
	ctx := contextWithin(t, 2*time.Minute)
	// The client may use the connection to the isolated member later than the others.
	for count(t, isolated, `grpc_code="DeadlineExceeded",grpc_method="Put"`) == "0" ||
		count(t, isolated, `grpc_code="Unavailable",grpc_method="Range"`) == "0" {
		var requests sync.WaitGroup
		for i := range 6 {
			key := fmt.Sprint("k", i)
			requests.Go(func() {
				if _, err := client.Put(ctx, key, "v"); err != nil {
					t.Errorf("put: %v", err)
				}
			})
			requests.Go(func() {
				if _, err := client.Get(ctx, key); err != nil {
					t.Errorf("get: %v", err)
				}
			})
		}
		requests.Wait()
		if t.Failed() {
			return
		}
	}
}

// count returns the value of grpc_server_handled_total at a member.
func count(t *testing.T, m *procs.Member, labels string) string {
	t.Helper()
	response, err := http.Get(m.ClientURL + "/metrics")
	mustSucceed(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	mustSucceed(t, err)
	_, rest, found := strings.Cut(string(text), "grpc_server_handled_total{"+labels)
	if !found {
		t.Fatalf("no metric with %s", labels)
	}
	line, _, _ := strings.Cut(rest, "\n")
	return line[strings.LastIndex(line, " ")+1:]
}
