package main

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

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
	var environment []string
	for _, match := range regexp.MustCompile(`(TROUPE_[A-Z_]+=\S+)`).FindAllString(file, -1) {
		environment = append(environment, match)
	}
	if len(environment) != 5 || !strings.Contains(file, "CGO_ENABLED=0") {
		t.Fatalf("%q in\n%s", environment, file)
	}
	if s := resolveSettings(t, nil, environment); len(s.Members) != 1 || s.DataDir != "/var/lib/troupe/data" {
		t.Errorf("%+v", s)
	}
}
