package kv

import (
	"encoding/json"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

const (
	// APIVersion is the etcd version whose API is served. Clients enable features by it.
	APIVersion = "3.7.3"
	// clusterVersion and storageVersion follow from APIVersion as in etcd.
	clusterVersion = "3.7.0"
	storageVersion = "3.7.0"
)

// newHTTPServer returns the server of the HTTP endpoints of the client port.
func (s *Server) newHTTPServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/version", s.serveVersion)
	registry := s.config.Registry
	mux.Handle("/metrics", promhttp.InstrumentMetricHandler(registry, promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})))
	s.registerHealth(mux)
	if s.config.Pprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return newHTTPServer(&s.config, mux)
}

func newHTTPServer(c *ServerConfig, handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: c.FirstByteTimeout,
		ReadTimeout:       time.Minute,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    maxHeaderBytes,
		ErrorLog:          httpErrorLog(c.Logger),
	}
}

// HTTPServer returns a server of the same endpoints for listeners of its own (listen-metrics-urls),
// which the caller serves and closes. LimitMetricsConnections bounds the connections of its
// listeners.
func (s *Server) HTTPServer() *http.Server {
	return newHTTPServer(&s.config, s.http.Handler)
}

// versionResponse is the response of /version: etcd's fields, and Troupe's version.
type versionResponse struct {
	Server  string `json:"etcdserver"`
	Cluster string `json:"etcdcluster"`
	Storage string `json:"storage"`
	Troupe  string `json:"troupe"`
}

func (s *Server) serveVersion(w http.ResponseWriter, r *http.Request) {
	if !allowGet(w, r) {
		return
	}
	writeJSON(w, http.StatusOK, versionResponse{
		Server: APIVersion, Cluster: clusterVersion, Storage: storageVersion, Troupe: s.config.Version,
	})
}

func writeJSON(w http.ResponseWriter, code int, response any) {
	body, err := json.Marshal(response)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(body)
}

func allowGet(w http.ResponseWriter, r *http.Request) bool {
	if r.Method == http.MethodGet {
		return true
	}
	w.Header().Set("Allow", http.MethodGet)
	http.Error(w, "Method Not Allowed", http.StatusMethodNotAllowed)
	return false
}
