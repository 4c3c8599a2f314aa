// Package version knows what this binary is, and which etcd its clients may take it for.
package version

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"
)

// Troupe is the version of this software. A release sets it with -ldflags "-X …/version.Troupe=1.2.3"; a binary made by
// `go install module@version` learns it from its build information.
var Troupe = ""

const unreleased = "0.1.0-dev"

// Etcd is the version of the etcd API that is spoken. Clients decide by it which features they switch on (Kubernetes asks
// for manual watch progress only from 3.5.13 on), so that it has to be a version of etcd's, not of ours: that of the
// go.etcd.io/etcd/api module in go.mod.
const Etcd = "3.7.3"

// String is the version with the revision that it was built from, as far as is known.
func String() string {
	v := Troupe
	info, ok := debug.ReadBuildInfo()
	if v == "" && ok && isRelease(info.Main.Version) {
		v = info.Main.Version
	}
	if v == "" {
		v = unreleased
	}
	if revision := Revision(); revision != "" {
		return v + " (" + revision + ")"
	}
	return v
}

// released tells a tagged version from what the go command makes up for a checkout (v0.0.0-date-revision).
func isRelease(v string) bool {
	return v != "" && v != "(devel)" && !strings.HasPrefix(v, "v0.0.0-")
}

// Revision is the revision of the source, shortened; empty where the build does not say.
func Revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	revision, changed := "", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision" && len(s.Value) >= 12:
			revision = s.Value[:12]
		case s.Key == "vcs.modified" && s.Value == "true":
			changed = "+changes"
		}
	}
	if revision == "" {
		return ""
	}
	return revision + changed
}

// Print writes what `troupe version` prints.
func Print(w io.Writer) {
	fmt.Fprintf(w, "Troupe Version: %s\n", String())
	fmt.Fprintf(w, "etcd API Version: %s\n", Etcd)
	printGo(w)
}

// PrintAsEtcd writes what `etcd --version` prints: tools and test suites read its first line.
func PrintAsEtcd(w io.Writer) {
	fmt.Fprintf(w, "etcd Version: %s\n", Etcd)
	fmt.Fprintf(w, "Troupe Version: %s\n", String())
	printGo(w)
}

func printGo(w io.Writer) {
	fmt.Fprintf(w, "Go Version: %s\n", runtime.Version())
	fmt.Fprintf(w, "Go OS/Arch: %s/%s\n", runtime.GOOS, runtime.GOARCH)
}
