package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// section is a map in etcd's configuration file whose keys are flags under other names.
type section struct {
	prefix string            // of the flags' names on the command line
	flags  map[string]string // the names of flags that do not follow from the prefix
}

var sections = map[string]section{
	"client-transport-security": {"", map[string]string{
		"allowed-cn": "client-cert-allowed-cn", "allowed-hostname": "client-cert-allowed-hostname",
	}},
	"peer-transport-security": {"peer-", map[string]string{
		"allowed-cn": "peer-cert-allowed-cn", "allowed-hostname": "peer-cert-allowed-hostname",
	}},
	"socket-options": {"socket-", nil},
}

// obsoleteKeys are keys of etcd's sample file and of earlier versions of etcd that are no flags and
// do no harm.
var obsoleteKeys = []string{
	"proxy-failure-wait", "proxy-refresh-interval", "proxy-dial-timeout", "proxy-write-timeout", "proxy-read-timeout",
	"enable-v2", "enable-v2v3", "debug", "log-package-levels",
	"client-transport-security.skip-client-san-verification",
}

const (
	proxyKey           = "proxy"
	experimentalPrefix = "experimental-"
)

// fileReader sets flags from a configuration file. It collects what is wrong, so that one start
// reports all of it.
type fileReader struct {
	fs       *pflag.FlagSet
	path     string
	warnings []Error
	errs     []error
}

// fileSetting is the setting that an error names if the configuration file cannot be used at all.
const fileSetting = "--config-file"

// UnusableFile reports whether a configuration file was not read, so that the settings are not
// those that it names.
func UnusableFile(err error) bool {
	var first *Error
	return errors.As(err, &first) && first.Setting == fileSetting
}

// FromFile sets the flags from a YAML file in etcd's format: the flags' names as keys, TLS in two
// sections. Other flags on the command line are an error, so that the file never contradicts them
// without notice. The error joins all that is wrong with the file; each part is an *Error. warnings
// are about keys of etcd that are no flags and do no harm, and about an empty list of members.
func FromFile(fs *pflag.FlagSet, path string) (warnings []Error, err error) {
	var beside []string
	fs.Visit(func(flag *pflag.Flag) {
		if flag.Name != "config-file" && flag.Name != "stop-with-stdin" && flag.Name != "as-etcd" {
			beside = append(beside, "--"+flag.Name)
		}
	})
	switch len(beside) {
	case 0:
	case 1:
		return nil, &Error{fileSetting, "excludes all other flags, but " + beside[0] + " is set too", "move it into the file"}
	default:
		return nil, &Error{fileSetting, "excludes all other flags, but " + strings.Join(beside, ", ") + " are set too", "move them into the file"}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{fileSetting, strings.TrimPrefix(err.Error(), "open "), "name a readable YAML file"}
	}
	var root yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return nil, &Error{fileSetting, path + ": " + strings.TrimPrefix(err.Error(), "yaml: "), "correct the YAML"}
	}
	if len(root.Content) == 0 {
		return []Error{{fileSetting, path + " holds no setting, so all have their defaults: " + clusterOfItsOwn, "write the settings into it"}}, nil
	}
	r := fileReader{fs: fs, path: path}
	r.setAll(root.Content[0], "", section{})
	return r.warnings, errors.Join(r.errs...)
}

func (r *fileReader) fail(setting, problem, advice string) {
	r.errs = append(r.errs, &Error{setting, problem, advice})
}

// setAll sets the flags of a map: the whole file, for which name is "", or one of its sections.
func (r *fileReader) setAll(node *yaml.Node, name string, s section) {
	if node.Kind != yaml.MappingNode {
		r.fail(fmt.Sprintf("%s:%d", r.path, node.Line), "not a map of settings", "write one \"flag: value\" a line")
		return
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		below, isSection := sections[key.Value]
		switch {
		case isSection && name == "" && isEmpty(value):
		case isSection && name == "":
			r.setAll(value, key.Value+".", below)
		default:
			r.set(key, value, name, s)
		}
	}
}

func (r *fileReader) set(key, value *yaml.Node, name string, s section) {
	where := fmt.Sprintf("%s:%d: %s", r.path, key.Line, key.Value)
	flagName, ok := s.flags[key.Value]
	if !ok {
		flagName = s.prefix + key.Value
	}
	flag := r.fs.Lookup(flagName)
	if flag == nil || isCommandLineOnly(flag.Name) || flag.Name == "config-file" {
		r.setObsolete(where, name+key.Value, value)
		return
	}
	given, err := flagValue(value, flag)
	switch {
	case err != nil:
		r.fail(where, err.Error(), "")
	case given == "" && (flag.Name != "initial-cluster" && flag.Name != "initial-cluster-token" || value.Tag == "!!null"):
		// An empty value means the default. An empty text for --initial-cluster does not: it would
		// begin a cluster of one. For --initial-cluster-token it is a token, as in etcd.
		if flag.Name == "initial-cluster" {
			r.warnings = append(r.warnings, Error{where, "is empty, which means its default: " + clusterOfItsOwn, "give a value, or leave the key out"})
		}
	case flag.Name == "discovery-fallback":
		// etcd reads it from the command line alone.
		if given != flag.DefValue {
			r.warnings = append(r.warnings, Error{where, "has no effect: " + noDiscovery, "leave it out"})
		}
	default:
		if err := SetFlag(r.fs, flag, where, given); err != nil {
			r.errs = append(r.errs, err)
		}
	}
}

// setObsolete handles a key that is no flag.
func (r *fileReader) setObsolete(where, key string, value *yaml.Node) {
	switch {
	case key == proxyKey && !isEmpty(value) && value.Value != "off" && value.Value != "false":
		// YAML's off is a bool for some programs.
		r.fail(where, fmt.Sprintf("%q is not supported: this server is a member", value.Value), "leave it out")
	case key == proxyKey:
	case slices.Contains(obsoleteKeys, key), strings.HasPrefix(key, experimentalPrefix):
		if !isEmpty(value) {
			r.warnings = append(r.warnings, Error{where, "has no effect: etcd 3.7 has no such setting", "leave it out"})
		}
	default:
		r.fail(where, "unknown setting", "the keys are the names of the flags: troupe server --help")
	}
}

func isEmpty(node *yaml.Node) bool {
	return node.Kind == yaml.ScalarNode && node.Value == "" || node.Tag == "!!null"
}

// flagValue returns a YAML value as the flag's text; a sequence becomes a list with commas. A
// duration may be a number of nanoseconds, the only form that etcd accepts in a file.
func flagValue(node *yaml.Node, flag *pflag.Flag) (string, error) {
	switch {
	case node.Tag == "!!null":
		return "", nil
	case node.Kind == yaml.ScalarNode && flag.Value.Type() == "duration":
		if nanoseconds, err := strconv.ParseInt(node.Value, 10, 64); err == nil {
			return time.Duration(nanoseconds).String(), nil
		}
		return node.Value, nil
	case node.Kind == yaml.ScalarNode:
		return node.Value, nil
	case node.Kind == yaml.SequenceNode:
		parts := make([]string, len(node.Content))
		for i, element := range node.Content {
			if element.Kind != yaml.ScalarNode {
				return "", errors.New("a list may hold plain values only")
			}
			parts[i] = element.Value
		}
		return strings.Join(parts, ","), nil
	}
	return "", errors.New("not a plain value or a list of them")
}
