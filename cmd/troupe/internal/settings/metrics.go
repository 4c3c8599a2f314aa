package settings

import "fmt"

// The kinds of metrics, as of etcd's --metrics.
const (
	metricsBasic     = "basic"
	metricsExtensive = "extensive"
)

func (f *Flags) resolveMetrics(s *Server) error {
	switch f.Metrics {
	case metricsExtensive:
		s.ExtensiveMetrics = true
	case metricsBasic:
	default:
		return &Error{"--metrics", fmt.Sprintf("%q is no kind of metrics", f.Metrics), "use basic or extensive"}
	}
	return nil
}
