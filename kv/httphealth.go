package kv

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/troupe-raft/troupe"
	"github.com/troupe-raft/troupe/kv/mvcc"
)

// healthCheck is one condition of a healthy member.
type healthCheck struct {
	name string
	run  func(context.Context) error
}

// registerHealth registers etcd's health endpoints: /health, one result as JSON; /livez, whether to
// keep the process; /readyz, whether to send it requests. Each check of the last two has its own
// path.
func (s *Server) registerHealth(mux *http.ServeMux) {
	mux.HandleFunc("/health", s.serveHealth)
	serializable := healthCheck{"serializable_read", s.checkRead(troupe.ReadLocal)}
	linearizable := healthCheck{"linearizable_read", s.checkRead(troupe.ReadIndex)}
	corruption := healthCheck{"data_corruption", s.checkCorruption}
	voter := healthCheck{"non_learner", s.checkIsVoter}
	s.registerChecks(mux, "/livez", serializable)
	s.registerChecks(mux, "/readyz", corruption, serializable, linearizable, voter)
}

func (s *Server) registerChecks(mux *http.ServeMux, root string, checks ...healthCheck) {
	mux.HandleFunc(root, func(w http.ResponseWriter, r *http.Request) {
		s.serveChecks(w, r, root, excludeChecks(checks, r.URL.Query()["exclude"]))
	})
	for _, check := range checks {
		mux.HandleFunc(root+"/"+check.name, func(w http.ResponseWriter, r *http.Request) {
			s.serveChecks(w, r, root, []healthCheck{check})
		})
	}
}

func excludeChecks(checks []healthCheck, excluded []string) (left []healthCheck) {
	isExcluded := map[string]bool{}
	for _, name := range excluded {
		isExcluded[name] = true
	}
	for _, c := range checks {
		if !isExcluded[c.name] {
			left = append(left, c)
		}
	}
	return left
}

// serveChecks runs all checks and lists those that failed; with ?verbose all of them.
func (s *Server) serveChecks(w http.ResponseWriter, r *http.Request, root string, checks []healthCheck) {
	if !allowGet(w, r) {
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), s.config.RequestTimeout)
	defer cancel()
	var report strings.Builder
	failed := false
	for _, check := range checks {
		err := check.run(ctx)
		s.metrics.countCheck(strings.TrimPrefix(root, "/"), check.name, err == nil)
		if err != nil {
			failed = true
			fmt.Fprintf(&report, "[-]%s failed: %v\n", check.name, err)
		} else {
			fmt.Fprintf(&report, "[+]%s ok\n", check.name)
		}
	}
	if failed {
		http.Error(w, report.String(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if r.URL.Query().Has("verbose") {
		_, _ = w.Write([]byte(report.String()))
	}
	_, _ = w.Write([]byte("ok\n"))
}

// healthResponse is the response of /health.
type healthResponse struct {
	Health string `json:"health"`
	Reason string `json:"reason"`
}

func (s *Server) serveHealth(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	query := r.URL.Query()
	ctx, cancel := context.WithTimeout(r.Context(), s.config.RequestTimeout)
	defer cancel()
	reason := s.unhealthyReason(ctx, query.Get("serializable") == "true", query["exclude"])
	s.metrics.countHealthCheck(reason == "")
	response := healthResponse{Health: "true", Reason: reason}
	code := http.StatusOK
	if reason != "" {
		response.Health, code = "false", http.StatusServiceUnavailable
	}
	writeJSON(w, code, response)
}

// unhealthyReason returns why the member is not healthy, in etcd's texts, or "". Alarms in exclude
// are ignored.
func (s *Server) unhealthyReason(ctx context.Context, serializable bool, exclude []string) string {
	node := s.config.Consensus.Status()
	excluded := strings.Join(exclude, ",")
	for _, alarm := range alarms(node, s.quota) {
		if !strings.Contains(excluded, alarm.String()) {
			return "ALARM " + alarm.String()
		}
	}
	mode := troupe.ReadLocal
	if !serializable {
		mode = troupe.ReadIndex
		if node.LeaderID == 0 {
			return "RAFT NO LEADER"
		}
	}
	if err := s.checkRead(mode)(ctx); err != nil {
		return fmt.Sprintf("RANGE ERROR:%s", err)
	}
	return ""
}

// checkRead reads a key as a client would.
func (s *Server) checkRead(mode troupe.ReadMode) func(context.Context) error {
	request := &pb.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1}
	return func(ctx context.Context) error {
		return s.kv.withView(ctx, mode, func(v *mvcc.View) error {
			_, err := v.Range(ctx, request)
			return err
		})
	}
}

func (s *Server) checkCorruption(context.Context) error {
	if err := s.config.Consensus.Status().Err; errors.Is(err, troupe.ErrCorrupt) {
		return err
	}
	return nil
}

func (s *Server) checkIsVoter(context.Context) error {
	if s.config.Consensus.Status().IsLearner {
		return errors.New("not supported for learner")
	}
	return nil
}
