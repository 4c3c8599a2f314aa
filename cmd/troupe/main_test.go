package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/version"
)

// runAsProgram is an environment variable that makes the test binary run the program under the
// variable's value as name, so that tests start servers as processes without another build.
const runAsProgram = "TEST_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if name := os.Getenv(runAsProgram); name != "" {
		os.Args[0] = name
		main()
	}
	// The settings of the caller's environment must not reach the tests.
	for _, pair := range os.Environ() {
		if name, _, _ := strings.Cut(pair, "="); strings.HasPrefix(name, "ETCD_") || strings.HasPrefix(name, "TROUPE_") {
			os.Unsetenv(name)
		}
	}
	os.Exit(m.Run())
}

// commandResult is the exit code and the output of a command.
type commandResult struct {
	code      exit.Code
	out, errs string
}

// runCommand runs a command other than server in this process. A command that is sent to a cluster
// has a minute, unless argv says otherwise.
func runCommand(t *testing.T, in string, argv ...string) commandResult {
	t.Helper()
	has := func(flag string) bool {
		return slices.ContainsFunc(argv, func(arg string) bool { return strings.HasPrefix(arg, flag) })
	}
	if has("--endpoints=") && !has("--timeout") {
		argv = append(slices.Clone(argv), "--timeout=60s")
	}
	var out, errs bytes.Buffer
	code := run(argv, strings.NewReader(in), &out, &errs)
	return commandResult{code, out.String(), errs.String()}
}

func runTroupe(t *testing.T, args ...string) commandResult {
	t.Helper()
	return runCommand(t, "", append([]string{"troupe"}, args...)...)
}

func TestResolveCommand(t *testing.T) {
	for _, c := range []struct{ argv, want string }{
		{"/usr/bin/etcd", "server --as-etcd"},
		{"etcd --name a -data-dir=/x", "server --as-etcd --name a --data-dir=/x"},
		{"troupe", ""},
		{"troupe --name a", "server --name a"},
		{"troupe -name a", "server --name a"},
		{"troupe server -name=a", "server --name=a"},
		{"troupe -h", "-h"},
		{"troupe --help", "--help"},
		{"troupe --version", "version"},
		{"troupe get -w json", "get -w json"},
		{"./bin/troupe put -- -x -y", "put -- -x -y"},
	} {
		if _, args := resolveCommand(strings.Fields(c.argv)); strings.Join(args, " ") != c.want {
			t.Errorf("%q: %q, want %q", c.argv, args, c.want)
		}
	}
}

func TestVersionOutput(t *testing.T) {
	asEtcd := runCommand(t, "", "/opt/bin/etcd", "--version")
	if asEtcd.code != exit.OK || !strings.HasPrefix(asEtcd.out, "etcd Version: 3.7.") || !strings.Contains(asEtcd.out, "Troupe Version: ") {
		t.Errorf("%+v", asEtcd)
	}
	for _, args := range [][]string{{"version"}, {"--version"}, {"server", "--version"}} {
		if got := runTroupe(t, args...); got.code != exit.OK || !strings.HasPrefix(got.out, "Troupe Version: "+version.String()) || !strings.Contains(got.out, "etcd API Version: 3.7.") {
			t.Errorf("%q: %+v", args, got)
		}
	}
}

// Every usage error is one line on standard error that begins with the program's name, and code 2.
func TestUsageErrorIsOneLineWithCodeTwo(t *testing.T) {
	for _, c := range []struct {
		argv string
		want []string
	}{
		{"troupe serve", []string{`unknown command "serve"`, "did you mean server?"}},
		// Similar by the number of letters alone is no suggestion, and etcdctl's commands have advice.
		{"troupe auth enable", []string{`unknown command "auth"; users and roles do not exist`}},
		{"troupe axy", []string{`unknown command "axy"; "troupe help"`}},
		{"troupe gte", []string{"did you mean get?"}},
		{"troupe compaction 7", []string{"troupe compact"}},
		{"troupe endpoint health", []string{"troupe status"}},
		{"troupe alarm disarm --endpoints 127.0.0.1:1", []string{`unknown command "alarm disarm"; an alarm ends with its cause`}},
		{"troupe alarm --endpoints 127.0.0.1:1 disarm", []string{`unknown command "alarm disarm"; an alarm ends with its cause`}},
		{"troupe lease --endpoints=127.0.0.1:1 grant 5", []string{`unknown command "lease"; leases do not exist`}},
		{"troupe snapshot save f --endpoints=127.0.0.1:1", []string{`unknown command "snapshot"; snapshots over the client port`}},
		{"troupe alarm --nope", []string{`unknown flag: --nope`}},
		{"troupe alarm disarm", []string{`unknown command "alarm disarm"; an alarm ends with its cause`}},
		{"troupe log verfy", []string{`unknown command "log verfy"; did you mean verify?`}},
		{"troupe member list", []string{`unknown command "member list"`, "troupe status"}},
		{"troupe member add d", []string{"members cannot be added"}},
		{"troupe xyzzy", []string{`unknown command "xyzzy"`, "troupe help"}},
		{"troupe server --no-such-flag=1", []string{"no-such-flag", "troupe server --help"}},
		{"etcd --no-such-flag=1", []string{"etcd: ", "no-such-flag"}},
		{"troupe server --heartbeat-interval=soon", []string{`--heartbeat-interval: invalid value "soon"`, "milliseconds between"}},
		{"troupe server --max-request-bytes=-1", []string{`--max-request-bytes: invalid value "-1"`}},
		{"troupe get k --timeout soon", []string{`--timeout: invalid value "soon"`}},
		{"troupe --endpoints 127.0.0.1:1 get k", []string{"flags must follow the command: troupe get … --endpoints"}},
		{"troupe --no-such-flag=1", []string{"no-such-flag", "troupe server --help"}},
		{"troupe server --election-timeout=50", []string{"--election-timeout"}},
		{"troupe server extra", []string{"too many arguments", "extra"}},
		{"troupe server --log-level=loud", []string{"--log-level"}},
		{"troupe server --config-file=/no/such/file", []string{"--config-file", "/no/such/file"}},
		{"troupe put", []string{"too few arguments", "troupe put KEY"}},
		{"troupe put k v w", []string{"too many arguments", `"w"`}},
		{"troupe get", []string{"too few arguments"}},
		{"troupe get --read eventually k", []string{"--read", "index, log"}},
		{"troupe get --sort-by size k", []string{"--sort-by"}},
		{"troupe get --order up k", []string{"--order"}},
		{"troupe get --limit -1 k", []string{"--limit"}},
		{"troupe get --prefix --from-key k", []string{"--prefix", "--from-key"}},
		{"troupe get --prefix a b", []string{"--prefix"}},
		{"troupe get --keys-only --print-value-only k", []string{"--keys-only"}},
		{"troupe get -o xml k", []string{"--output", "simple|table|json|yaml"}},
		{"troupe get --endpoints nonsense k", []string{"--endpoints", "no port"}},
		{"troupe get --timeout 0s k", []string{"--timeout"}},
		{"troupe member rejoin c --storage-id zz", []string{`--storage-id: "zz" is no storage id`, "identity.json"}},
		{"troupe member rejoin c --storage-id 0f0f", []string{`--storage-id: "0f0f" is no storage id`}},
		{"troupe watch --rev -1 k", []string{"--rev"}},
		{"troupe status now", []string{"too many arguments"}},
		{"troupe demo --members 0", []string{"--members"}},
		{"troupe demo --members 10", []string{"--members"}},
		{"troupe log dump", []string{"--data-dir"}},
		{"troupe log verify", []string{"--data-dir"}},
	} {
		got := runCommand(t, "", strings.Fields(c.argv)...)
		if got.code != exit.Usage || strings.Count(got.errs, "\n") != 1 || got.out != "" {
			t.Errorf("%s: code %d\nout: %s\nerr: %s", c.argv, got.code, got.out, got.errs)
		}
		name := strings.Fields(c.argv)[0] + ": "
		for _, text := range append(c.want, name) {
			if !strings.Contains(got.errs, text) {
				t.Errorf("%s: %q does not contain %q", c.argv, got.errs, text)
			}
		}
	}
}

// All that is wrong with a command line is reported in one line, whatever finds it: the parser of
// flags, the values' types, or the rules for values.
func TestFaultsOfACommandLineAreReportedTogether(t *testing.T) {
	t.Setenv("ETCD_MAX_TXN_OPS", "many")
	for argv, want := range map[string][]string{
		"troupe server --wal-dir /x --heartbeat-interval foo --nope": {
			"--wal-dir: not supported", `--heartbeat-interval: invalid value "foo"`, "unknown flag: --nope", "troupe server --help",
			`ETCD_MAX_TXN_OPS: invalid value "many"`,
		},
		"troupe server --nope value --nape=value -q --peer-link=tcp --initial-cluster-state=old --max-connections=0 --watch-progress-notify-interval=1ms extra --name": {
			"unknown flag: --nope", "unknown flag: --nape", "-q", "--peer-link", "--initial-cluster-state", "--max-connections",
			"--watch-progress-notify-interval", `from "extra"`, "flag needs an argument: --name",
		},
		"troupe server --log-level=loud --log-format=xml --enable-log-rotation --listen-client-urls=x --listen-peer-urls=y --name a=b": {
			"--log-level", "--log-format", "--enable-log-rotation", "--listen-client-urls", "--listen-peer-urls", "--name", "ETCD_MAX_TXN_OPS",
		},
		"etcd --nope --election-timeout x --tls-min-version=1 --client-cert-auth --peer-client-cert-auth": {
			"etcd: ", "unknown flag: --nope", "--election-timeout", "--tls-min-version", "--client-cert-auth", "--peer-client-cert-auth",
		},
		"troupe server --initial-cluster-state=foo --name= extra":                {"--initial-cluster-state", "--name", `from "extra"`, "ETCD_MAX_TXN_OPS"},
		"troupe server --version extra":                                          {`from "extra"`},
		"troupe server --nope --enable-log-rotation --log-outputs=/no/such/file": {"unknown flag: --nope"},
		"troupe get --limit x --nope --timeout y":                                {`--limit: invalid value "x"`, "unknown flag: --nope", `--timeout: invalid value "y"`, "too few arguments"},
		"troupe log dump --from x --to y":                                        {"--from: invalid", "--to: invalid"},
	} {
		got := runCommand(t, "", strings.Fields(argv)...)
		if got.code != exit.Usage || strings.Count(got.errs, "\n") != 1 || got.out != "" {
			t.Errorf("%s: code %d\nout: %s\nerr: %s", argv, got.code, got.out, got.errs)
		}
		for _, text := range want {
			if !strings.Contains(got.errs, text) {
				t.Errorf("%s: %q does not contain %q", argv, got.errs, text)
			}
		}
		if strings.Contains(got.errs, "is 0") || strings.Contains(argv, "no/such") && strings.Contains(got.errs, "exactly one") || strings.Contains(got.errs, "not between 1") && !strings.Contains(argv, "connections=0") {
			t.Errorf("%s: %q finds fault with a value that was not given", argv, got.errs)
		}
	}
}

// A binary named etcd takes a configuration file, though resolveCommand adds a flag to its command
// line. What else is wrong is reported beside the file's own mistakes.
func TestEtcdBinaryTakesAConfigurationFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "etcd.yml")
	if err := os.WriteFile(path, []byte("heartbeat-interval: soon\nlog-level: loud\nmax-txn-ops: 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	got := runCommand(t, "", "etcd", "--config-file="+path)
	for _, text := range []string{":1: heartbeat-interval: invalid", "--log-level", "--max-txn-ops"} {
		if got.code != exit.Usage || !strings.Contains(got.errs, text) {
			t.Errorf("%+v does not contain %q", got, text)
		}
	}
}

func TestEveryCommandHasAnExample(t *testing.T) {
	for _, name := range []string{"server", "demo", "put", "get", "del", "txn", "watch", "compact", "status", "member", "member rejoin", "move-leader", "alarm", "alarm list", "defrag", "hashkv", "log", "log dump", "log verify", "version"} {
		got := runTroupe(t, append(strings.Fields(name), "--help")...)
		if got.code != exit.OK || !strings.Contains(got.out, "Examples:") || !strings.Contains(got.out, "troupe "+name) {
			t.Errorf("%s: code %d\n%s%s", name, got.code, got.out, got.errs)
		}
	}
}

func TestShellCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish"} {
		if got := runTroupe(t, "completion", shell); got.code != exit.OK || !strings.Contains(got.out, "troupe") {
			t.Errorf("%s: %+v", shell, got)
		}
	}
}

func TestArgumentsAreNotCompletedWithFiles(t *testing.T) {
	for _, command := range []string{"get", "put", "del", "watch", "compact", "move-leader", "member rejoin", "hashkv", "server"} {
		got := runTroupe(t, append(append([]string{"__complete"}, strings.Fields(command)...), "")...)
		if strings.TrimSpace(got.out) != fmt.Sprintf(":%d", cobra.ShellCompDirectiveNoFileComp) {
			t.Errorf("%s: %+v", command, got)
		}
	}
	if got := runTroupe(t, "__complete", "server", "--cipher-suites", "TLS_ECDHE_ECDSA"); !strings.Contains(got.out, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256\n") {
		t.Errorf("cipher suites: %+v", got)
	}
	if got := runTroupe(t, "__complete", ""); !strings.Contains(got.out, "move-leader") {
		t.Errorf("commands: %+v", got)
	}
}

// A shell completes the values of a choice, files where a file is expected, and nothing else. The
// help shows the same values.
func TestValuesOfFlagsAreCompleted(t *testing.T) {
	noFiles, directories := fmt.Sprintf(":%d", cobra.ShellCompDirectiveNoFileComp), fmt.Sprintf(":%d", cobra.ShellCompDirectiveFilterDirs)
	files := fmt.Sprintf(":%d", cobra.ShellCompDirectiveDefault)
	for flag, want := range map[string]string{
		"get --read":                     "index\nlog\nlease\nleader\nlocal\n" + noFiles,
		"get --sort-by":                  "key\nversion\ncreate\nmodify\nvalue\n" + noFiles,
		"get --order":                    "ascend\ndescend\n" + noFiles,
		"status --output":                "simple\ntable\njson\nyaml\n" + noFiles,
		"log verify -o":                  "simple\ntable\njson\nyaml\n" + noFiles,
		"get --limit":                    noFiles,
		"get --cacert":                   files,
		"server --initial-cluster-state": "new\nexisting\nrejoin\n" + noFiles,
		"server --peer-link":             "grpc\nremote\n" + noFiles,
		"server --log-level":             "debug\ninfo\nwarn\nerror\n" + noFiles,
		"server --log-format":            "json\nconsole\n" + noFiles,
		"server --metrics":               "basic\nextensive\n" + noFiles,
		"server --tls-min-version":       "TLS1.2\nTLS1.3\n" + noFiles,
		"server --tls-max-version":       "TLS1.2\nTLS1.3\n" + noFiles,
		"server --name":                  noFiles,
		"server --cert-file":             files,
		"server --data-dir":              directories,
		"demo --data-dir":                directories,
	} {
		words := strings.Fields(flag)
		got := runTroupe(t, append(append([]string{"__complete"}, words...), "")...)
		if strings.TrimSpace(got.out) != want {
			t.Errorf("%s completes to %q, want %q", flag, got.out, want)
		}
		command, name := words[:len(words)-1], words[len(words)-1]
		if values := strings.Split(want, "\n"); len(values) > 1 && name != "-o" {
			choice := name + " " + strings.Join(values[:len(values)-1], "|")
			if help := runTroupe(t, append(command, "--help")...).out; !strings.Contains(help, choice) {
				t.Errorf("the help does not show %q", choice)
			}
		}
	}
}

func TestClientWithoutClusterFails(t *testing.T) {
	for _, args := range [][]string{{"put", "k", "v"}, {"get", "k"}, {"del", "k"}, {"status"}} {
		got := runTroupe(t, append(args, "--endpoints=127.0.0.1:1", "--timeout=200ms")...)
		if got.code != exit.Failure || strings.Count(got.errs, "\n") != 1 || !strings.Contains(got.errs, "no endpoint can be reached") {
			t.Errorf("%q: %+v", args, got)
		}
	}
	got := runTroupe(t, "get", "k", "--cacert=/no/such/ca.pem")
	if got.code != exit.Certificate || !strings.Contains(got.errs, "/no/such/ca.pem: does not exist") {
		t.Errorf("%+v", got)
	}
}
