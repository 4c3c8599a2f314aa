package settings

import (
	"sort"
	"strings"

	"github.com/spf13/pflag"
)

// The prefixes of environment variables, the winning one first. ETCD_ is there for everything that sets up etcd today.
var prefixes = []string{"TROUPE_", "ETCD_"}

// notServers are variables with one of the prefixes that speak to other commands than the server.
var notServers = map[string]bool{"TROUPE_ENDPOINTS": true, "TROUPE_CACERT": true, "TROUPE_CERT": true, "TROUPE_KEY": true}

// FromEnvironment sets the flags that the command line did not from variables named after them: --data-dir from
// TROUPE_DATA_DIR, or else from ETCD_DATA_DIR. It returns the variables with a prefix that name no flag: they are worth a
// warning and no more, since orchestrators make up such names (ETCD_PORT_2379_TCP).
func FromEnvironment(fs *pflag.FlagSet, environment []string) (unknown []string, err error) {
	values := make(map[string]string, len(environment))
	for _, pair := range environment {
		if name, value, ok := strings.Cut(pair, "="); ok {
			values[name] = value
		}
	}
	known := map[string]bool{}
	fs.VisitAll(func(flag *pflag.Flag) {
		for _, prefix := range prefixes {
			name := variableName(prefix, flag.Name)
			value, set := values[name]
			known[name] = true
			// An empty variable counts as unset, as with etcd: a unit file that leaves one blank means the default.
			if !set || value == "" || flag.Changed || flag.Name == "help" || err != nil {
				continue
			}
			if failure := fs.Set(flag.Name, value); failure != nil {
				err = InvalidValue(name, value, flag)
			}
		}
	})
	if err != nil {
		return nil, err
	}
	for name := range values {
		if hasPrefix(name) && !known[name] && !notServers[name] {
			unknown = append(unknown, name)
		}
	}
	sort.Strings(unknown)
	return unknown, nil
}

func variableName(prefix, flag string) string {
	return prefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func hasPrefix(name string) bool {
	for _, prefix := range prefixes {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
