package main

import (
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
)

// A server that has as many connections as it may is not taken for one that is reached in the wrong
// way.
func TestConnectionLimitIsNotTakenForATLSMistake(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		scheme string
		server []string
		client string
		text   string
	}{
		{"http", nil, "--insecure-skip-tls-verify=false", "503"},
		{"https", []string{"--auto-tls"}, "--insecure-skip-tls-verify", "tls: internal error"},
	} {
		s := newSingleMember(t)
		p := s.start(append(c.server, "--max-connections=1", "--listen-client-urls="+c.scheme+"://"+s.endpoint, "--advertise-client-urls="+c.scheme+"://"+s.endpoint)...)
		openConnection(t, s.endpoint, "") // before the next one in the order of acceptance
		// On a machine that stalls the time may be over before an attempt is.
		for try := 1; ; try++ {
			got := runTroupe(t, "put", "k", "v", "--timeout=1s", c.client, "--endpoints="+c.scheme+"://"+s.endpoint)
			if got.code == exit.Failure && strings.Contains(got.errs, c.text) && strings.Contains(got.errs, "--max-connections") &&
				!strings.Contains(got.errs, "write http") && !strings.Contains(got.errs, "--cert and") {
				break
			}
			if t.Logf("%s: %+v", c.scheme, got); try == 20 {
				t.Fatal("no try had the right error")
			}
		}
		p.waitFor("client connection limit reached")
	}
}
