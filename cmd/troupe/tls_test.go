package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe/internal/certs/certstest"
	"github.com/troupe-raft/troupe/tests/freeport"
)

func TestClusterUnderTLSRequiresClientCertificate(t *testing.T) {
	t.Parallel()
	files := certstest.NewAuthority(t, "ca").Issue("member", nil)
	flags := func(prefix string) []string {
		return []string{
			"--" + prefix + "cert-file=" + files.CertFile, "--" + prefix + "key-file=" + files.KeyFile,
			"--" + prefix + "trusted-ca-file=" + files.CAFile, "--" + prefix + "client-cert-auth",
		}
	}
	for name, peers := range map[string][]string{"certificates of one CA": flags("peer-"), "self-signed certificates": {"--peer-auto-tls"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			endpoints := secureCluster(t, append(flags(""), peers...))
			put := func(clientFlags ...string) commandResult {
				return runTroupe(t, append([]string{"put", "k", "v", "--timeout=60s", "--endpoints=" + endpoints}, clientFlags...)...)
			}
			cacert := "--cacert=" + files.CAFile
			if got := put(cacert, "--cert="+files.CertFile, "--key="+files.KeyFile); got.code != 0 {
				t.Errorf("with a certificate: %+v", got)
			}
			if got := put(cacert, "--timeout=500ms"); got.code == 0 {
				t.Errorf("without a certificate: %+v", got)
			}
		})
	}
}

// secureCluster starts three members with https URLs and returns their endpoints once all serve.
func secureCluster(t *testing.T, flags []string) string {
	t.Helper()
	dir, ports := t.TempDir(), freeport.Take(t, 6)
	var cluster, endpoints []string
	for i := range 3 {
		cluster = append(cluster, fmt.Sprintf("m%d=https://127.0.0.1:%d", i, ports[i]))
		endpoints = append(endpoints, fmt.Sprintf("https://127.0.0.1:%d", ports[3+i]))
	}
	var members []*process
	for i := range 3 {
		args := []string{
			"server", fmt.Sprintf("--name=m%d", i), fmt.Sprintf("--data-dir=%s/m%d", dir, i), "--initial-cluster=" + strings.Join(cluster, ","),
			"--listen-client-urls=" + endpoints[i], fmt.Sprintf("--listen-peer-urls=https://127.0.0.1:%d", ports[i]),
		}
		members = append(members, startProcess(t, "troupe", nil, append(args, flags...)...))
	}
	for _, m := range members {
		m.waitFor("ready to serve client requests")
	}
	return strings.Join(endpoints, ",")
}
