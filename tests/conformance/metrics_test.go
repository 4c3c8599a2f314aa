package conformance

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/tests/procs"
)

// docs/metrics.md says of every metric of etcd whether Troupe serves it; a test of package kv holds
// Troupe to that. This one holds the table to a real etcd: three members, with a follower's and a
// leader's metrics, after a request of each kind.
func TestMetricsTableListsAllOfEtcd(t *testing.T) {
	c, err := procs.StartCluster(contextWithin(t, time.Minute), procs.Config{
		Program: reference, Size: 3, Dir: t.TempDir(), Flags: []string{"--metrics=extensive"},
	})
	mustSucceed(t, err)
	t.Cleanup(func() { mustSucceed(t, c.Close()) })
	ctx := contextWithin(t, time.Minute)
	served := map[string]string{} // type and labels, by name
	for _, m := range c.Members {
		client, err := procs.Dial(m.Endpoint())
		mustSucceed(t, err)
		_, putErr := client.Put(ctx, "k", "v")
		_, getErr := client.Get(ctx, "k")
		_, hashErr := client.HashKV(ctx, m.Endpoint(), 0)
		_, defragErr := client.Defragment(ctx, m.Endpoint())
		for _, err := range []error{putErr, getErr, hashErr, defragErr, client.Close()} {
			mustSucceed(t, err)
		}
		_ = scrape(t, m, "/readyz")
		_ = scrape(t, m, "/metrics") // whose own metrics appear in the next one
		maps.Copy(served, families(scrape(t, m, "/metrics")))
	}
	root, err := procs.Root()
	mustSucceed(t, err)
	text, err := os.ReadFile(filepath.Join(root, "docs", "metrics.md"))
	mustSucceed(t, err)
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `?(\\w+)`? \\| (\\w+) \\| (.*) \\| .+ \\|$").FindAllStringSubmatch(string(text), -1) {
		documented[row[1]] = strings.TrimSpace(row[2] + " " + strings.ReplaceAll(row[3], "`", ""))
	}
	fromClient := regexp.MustCompile("^(go|process|promhttp)_")
	for name, family := range served {
		if got, has := documented[name]; !fromClient.MatchString(name) && (!has || got != family) {
			t.Errorf("%s is %q in etcd, and %q in docs/metrics.md", name, family, got)
		}
	}
	if len(served) < 130 {
		t.Errorf("etcd serves only %d metrics: the test shows nothing", len(served))
	}
}

func scrape(t *testing.T, m *procs.Member, path string) string {
	t.Helper()
	response, err := http.Get(m.ClientURL + path)
	mustSucceed(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	mustSucceed(t, err)
	return string(text)
}

// families returns the type and the names of the labels of each metric in Prometheus's text format.
func families(text string) map[string]string {
	types, labels := map[string]string{}, map[string]map[string]bool{}
	series := regexp.MustCompile(`^(\w+?)(?:_bucket|_sum|_count)?(?:\{(.*)\})? `)
	label := regexp.MustCompile(`(\w+)="`)
	for line := range strings.Lines(text) {
		if words := strings.Fields(line); len(words) == 4 && words[1] == "TYPE" {
			types[words[2]], labels[words[2]] = words[3], map[string]bool{}
			continue
		}
		m := series.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			if set := labels[m[1]]; set != nil && l[1] != "le" && l[1] != "quantile" {
				set[l[1]] = true
			}
		}
	}
	all := map[string]string{}
	for name, kind := range types {
		all[name] = strings.TrimSpace(kind + " " + strings.Join(slices.Sorted(maps.Keys(labels[name])), ", "))
	}
	return all
}
