package procs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Program is a server with etcd's flags.
type Program struct {
	Name string // "troupe" or "etcd"
	Path string
	// Args are the arguments before the flags; Troupe's server is a subcommand.
	Args []string
}

// Environment variables with the paths of binaries. Without them the binaries are built.
const (
	TroupeBinary  = "TROUPE_BIN"
	EtcdBinary    = "ETCD_BIN"
	EtcdctlBinary = "ETCDCTL_BIN"
	LoadBinary    = "LOADGEN_BIN"
)

// Troupe returns the server of this checkout: the binary $TROUPE_BIN names, or one built into dir,
// without cgo, as it is released.
func Troupe(ctx context.Context, dir string) (Program, error) {
	path, err := binary(ctx, TroupeBinary, dir, "troupe", ".", "./cmd/troupe", "CGO_ENABLED=0")
	return Program{Name: "troupe", Path: path, Args: []string{"server"}}, err
}

// Etcd returns etcd v3.7.3, built into dir from its module unless $ETCD_BIN names it.
func Etcd(ctx context.Context, dir string) (Program, error) {
	path, err := binary(ctx, EtcdBinary, dir, "etcd", "tests/peers/etcd", "go.etcd.io/etcd/server/v3")
	return Program{Name: "etcd", Path: path}, err
}

// Etcdctl returns the path of etcdctl v3.7.3, built into dir unless $ETCDCTL_BIN names it.
func Etcdctl(ctx context.Context, dir string) (string, error) {
	return binary(ctx, EtcdctlBinary, dir, "etcdctl", "tests/peers/etcd", "go.etcd.io/etcd/etcdctl/v3")
}

// LoadGenerator returns the path of etcd's tools/benchmark v3.6.8 (the newest published as a
// module), built into dir unless $LOADGEN_BIN names it.
func LoadGenerator(ctx context.Context, dir string) (string, error) {
	return binary(ctx, LoadBinary, dir, "benchmark", "tests/peers/loadgen", "go.etcd.io/etcd/v3/tools/benchmark")
}

// UnderTest returns the program that an environment variable chooses: "troupe" (also when it is not
// set) or "etcd", which the tests are validated against.
func UnderTest(ctx context.Context, variable, dir string) (Program, error) {
	switch name := os.Getenv(variable); name {
	case "", "troupe":
		return Troupe(ctx, dir)
	case "etcd":
		return Etcd(ctx, dir)
	default:
		return Program{}, fmt.Errorf("%s=%q: give troupe or etcd", variable, name)
	}
}

func binary(ctx context.Context, variable, dir, name, module, pkg string, environment ...string) (string, error) {
	if path := os.Getenv(variable); path != "" {
		return filepath.Abs(path)
	}
	root, err := Root()
	if err != nil {
		return "", err
	}
	path, err := filepath.Abs(filepath.Join(dir, name))
	if err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", path, pkg)
	build.Dir = filepath.Join(root, module)
	build.Env = append(append(os.Environ(), "GOWORK=off"), environment...)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building %s in %s: %w\n%s", pkg, build.Dir, err, out)
	}
	return path, nil
}

// Root returns the root of the checkout that the working directory is in.
func Root() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "tests", "peers", "etcd", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errors.New("not inside a checkout of Troupe: no folder above has tests/peers/etcd/go.mod")
		}
		dir = parent
	}
}
