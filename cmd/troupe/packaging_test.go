package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/settings"
)

const packaging = "../../packaging/"

func readPackaging(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(packaging + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// resolveSettings returns the settings of a server with these arguments and variables.
func resolveSettings(t *testing.T, args, environment []string) *settings.Server {
	t.Helper()
	flags, fs := &settings.Flags{}, pflag.NewFlagSet("server", pflag.ContinueOnError)
	flags.Register(fs)
	if err := fs.Parse(args); err != nil {
		t.Fatal(err)
	}
	if unknown, err := settings.FromEnvironment(fs, environment); err != nil || len(unknown) != 0 {
		t.Fatalf("unknown variables %q, %v", unknown, err)
	}
	s, err := flags.Resolve(fs)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSampleUnitStartsAMember(t *testing.T) {
	unit := readPackaging(t, "systemd/troupe.service")
	setting := func(name string) string {
		match := regexp.MustCompile(`(?m)^` + name + `=(.*)$`).FindStringSubmatch(unit)
		if match == nil {
			t.Fatalf("the unit does not set %s", name)
		}
		return match[1]
	}
	var environment []string
	for _, line := range strings.Split(readPackaging(t, "systemd/troupe.env"), "\n") {
		if strings.HasPrefix(strings.TrimPrefix(line, "# "), "TROUPE_") {
			environment = append(environment, strings.TrimPrefix(line, "# "))
		}
	}
	command := strings.Fields(setting("ExecStart"))
	s := resolveSettings(t, command[2:], environment)
	if len(s.Members) != 3 || s.Name != "a" || s.DataDir != "/var/lib/troupe/data" || !s.Existing {
		t.Errorf("%+v", s)
	}
	permanent := fmt.Sprintf("%d %d %d %d", exit.Usage, exit.DataDir, exit.Certificate, exit.Replaced)
	if command[1] != "server" || setting("Type") != "notify" || setting("RestartPreventExitStatus") != permanent {
		t.Errorf("the unit is\n%s", unit)
	}
}

func TestSampleContainerStartsAMember(t *testing.T) {
	file := readPackaging(t, "container/Dockerfile")
	environment := regexp.MustCompile(`(TROUPE_[A-Z_]+=\S+)`).FindAllString(file, -1)
	if len(environment) != 5 || !strings.Contains(file, "CGO_ENABLED=0") {
		t.Fatalf("%q in\n%s", environment, file)
	}
	if s := resolveSettings(t, nil, environment); len(s.Members) != 1 || s.DataDir != "/var/lib/troupe/data" {
		t.Errorf("%+v", s)
	}
}

// An alert about a metric that does not exist never fires.
func TestAlertRulesUseServedMetrics(t *testing.T) {
	t.Parallel()
	var rules struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	if err := yaml.Unmarshal([]byte(readPackaging(t, "prometheus/alerts.yaml")), &rules); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	served := servedMetrics(t)
	for _, rule := range rules.Groups[0].Rules {
		if !strings.Contains(string(page), "| "+rule.Alert+" |") {
			t.Errorf("docs/alerts.md does not have %s", rule.Alert)
		}
		names := metricName.FindAllString(rule.Expr, -1)
		for _, name := range names {
			if !served[name] {
				t.Errorf("%s: no member serves %s", rule.Alert, name)
			}
		}
		if len(names) == 0 && !strings.Contains(rule.Expr, "up{") {
			t.Errorf("%s has no metric: %s", rule.Alert, rule.Expr)
		}
	}
}

var metricName = regexp.MustCompile(`\b(etcd|troupe|process)_\w+`)

// servedMetrics returns the names of the metrics that the members of a cluster serve.
func servedMetrics(t *testing.T) map[string]bool {
	t.Helper()
	served := map[string]bool{}
	for _, endpoint := range plainCluster(t).endpoints {
		response, err := http.Get(endpoint + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(string(text), "\n") {
			if name := metricName.FindString(line); name != "" && !strings.HasPrefix(line, "#") {
				served[name] = true
			}
		}
	}
	return served
}
