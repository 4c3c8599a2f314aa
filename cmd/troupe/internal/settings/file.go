package settings

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// sections are the two maps of etcd's configuration file, and the prefix of their flags on the
// command line.
var sections = map[string]string{
	"client-transport-security": "",
	"peer-transport-security":   "peer-",
}

// FromFile sets the flags from a YAML file in etcd's format: the flags' names as keys, TLS in two
// sections. Other flags on the command line are an error, so that the file never contradicts them
// without notice. All errors are of type *Error.
func FromFile(fs *pflag.FlagSet, path string) error {
	const setting = "--config-file"
	var beside string
	fs.Visit(func(flag *pflag.Flag) {
		if flag.Name != "config-file" && flag.Name != "stop-with-stdin" {
			beside = flag.Name
		}
	})
	if beside != "" {
		return &Error{setting, "excludes all other flags, but --" + beside + " is set too", "move it into the file"}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return &Error{setting, strings.TrimPrefix(err.Error(), "open "), "name a readable YAML file"}
	}
	var root yaml.Node
	if err := yaml.NewDecoder(bytes.NewReader(text)).Decode(&root); err != nil && !errors.Is(err, io.EOF) {
		return &Error{setting, path + ": " + strings.TrimPrefix(err.Error(), "yaml: "), "correct the YAML"}
	}
	if len(root.Content) == 0 {
		return nil
	}
	return setAll(fs, path, root.Content[0], "", true)
}

func setAll(fs *pflag.FlagSet, path string, node *yaml.Node, prefix string, outermost bool) error {
	if node.Kind != yaml.MappingNode {
		return &Error{fmt.Sprintf("%s:%d", path, node.Line), "not a map of settings", "write one \"flag: value\" a line"}
	}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		where := fmt.Sprintf("%s:%d: %s", path, key.Line, key.Value)
		if below, ok := sections[key.Value]; ok && outermost {
			if value.Kind == yaml.ScalarNode && value.Value == "" {
				continue
			}
			if err := setAll(fs, path, value, below, false); err != nil {
				return err
			}
			continue
		}
		flag := fs.Lookup(prefix + key.Value)
		if flag == nil || flag.Name == "config-file" || flag.Name == "help" {
			return &Error{where, "unknown setting", "the keys are the names of the flags: troupe server --help"}
		}
		given, err := flagValue(value)
		if err != nil {
			return &Error{where, err.Error(), ""}
		}
		if given == "" {
			continue // an empty value means the default
		}
		if err := fs.Set(flag.Name, given); err != nil {
			return InvalidValue(where, given, flag)
		}
	}
	return nil
}

// flagValue returns a YAML value as the flag's text; a sequence becomes a list with commas.
func flagValue(node *yaml.Node) (string, error) {
	switch {
	case node.Kind == yaml.ScalarNode && node.Tag == "!!null":
		return "", nil
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
