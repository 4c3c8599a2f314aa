package settings

import (
	"slices"
	"strings"
	"testing"
)

// A start reports all that is wrong, but nothing that follows from another fault or that the user
// did not write.
func TestFaultsAreReportedTogether(t *testing.T) {
	for args, want := range map[string][]string{
		"--listen-client-urls=http://0.0.0.0:34030 --initial-cluster=x=http://x:2380": {
			"--advertise-client-urls: not set", `--initial-cluster: holds no member "default"`},
		"--listen-client-urls=x --advertise-client-urls=y --listen-peer-urls=z --cert-file=c": {
			`--listen-client-urls: "x"`, `--advertise-client-urls: "y"`, `--listen-peer-urls: "z"`, "--key-file: is missing"},
		"--listen-peer-urls=z --name=a --initial-cluster=a=http://x:2380,b,c= --initial-advertise-peer-urls=y": {
			`--listen-peer-urls: "z"`, `--initial-cluster: "b"`, `--initial-cluster: member "c"`, `--initial-advertise-peer-urls: "y"`},
		"--listen-peer-urls=http://x:1,https://x:2 --initial-cluster=d=http://x:1": {
			"--listen-peer-urls: mixes", "--initial-cluster: holds no member"},
		"--name=a --initial-cluster=a=https://x:1": {
			"--listen-peer-urls: is http://", `--initial-cluster: member "a" is at https://x:1, but listens on`},
		"--listen-client-urls=x,,y":                                               {`--listen-client-urls: "x"`, "--listen-client-urls: a URL", `--listen-client-urls: "y"`},
		"--initial-cluster=a=x,a=y":                                               {`--initial-cluster: "x"`, `--initial-cluster: "y"`},
		"--heartbeat-interval=0 --election-timeout=60000":                         {"--heartbeat-interval: is 0", "--election-timeout: 60000"},
		"--peer-cert-file=x --peer-client-cert-file=x --peer-client-cert-auth":    {"--peer-key-file:", "--peer-client-key-file:", "--peer-client-cert-auth:"},
		"--listen-client-urls=https://x:1 --client-cert-auth":                     {"--listen-client-urls: uses https", "--client-cert-auth:"},
		"--tls-min-version=1 --tls-max-version=2 --cipher-suites=ROT13,ROT26":     {"--tls-min-version:", "--tls-max-version:", `--cipher-suites: unknown or unsafe: "ROT13", "ROT26"`},
		"--tls-min-version=TLS1.3 --tls-max-version=TLS1.2 --cipher-suites=ROT13": {"--tls-max-version:", "--cipher-suites:"},
	} {
		f, fs := parseFlags(t, strings.Fields(args)...)
		_, err := f.Resolve(fs)
		if err == nil {
			t.Errorf("%s: no error", args)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		for _, text := range want {
			if !slices.ContainsFunc(got, func(line string) bool { return strings.HasPrefix(line, text) }) {
				t.Errorf("%s: no line begins with %q", args, text)
			}
		}
		if t.Failed() || len(got) != len(want) {
			t.Fatalf("%s:\n%v\nwant %d lines", args, err, len(want))
		}
	}
}
