// Package output prints the results of the commands in the format of --output: simple, table, json
// or yaml. JSON and YAML have the same fields, and every id in them is written as raft.FormatID
// writes it.
package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/troupe-raft/troupe/raft"
)

// Format is a value of --output. It is a pflag.Value that refuses other words.
type Format string

// The formats of every command.
const (
	Simple Format = "simple" // lines for a terminal and for scripts, as etcdctl's
	Table  Format = "table"
	JSON   Format = "json"
	YAML   Format = "yaml"
)

var formats = []Format{Simple, Table, JSON, YAML}

func (f *Format) String() string { return string(*f) }

// Type returns the values, which the help and the completion show.
func (f *Format) Type() string { return "simple|table|json|yaml" }

// Set sets the format.
func (f *Format) Set(text string) error {
	if !slices.Contains(formats, Format(text)) {
		return fmt.Errorf("%q is not one of simple, table, json, yaml", text)
	}
	*f = Format(text)
	return nil
}

// Result is the result of a command in its forms.
type Result struct {
	// Value is what JSON and YAML contain: a message of protobuf, or a value for encoding/json.
	Value any
	// Indented writes JSON in several lines. A command that prints several results writes each in a
	// line of its own, so that a program can read them one by one.
	Indented bool
	// Simple writes the simple form; nil means that it is the table.
	Simple func(io.Writer) error
	// Header and Rows are the table. Header is nil for rows below a table that was printed before.
	Header []string
	Rows   [][]string
}

// Print writes a result in a format.
func Print(w io.Writer, format Format, r Result) error {
	switch {
	case format == JSON || format == YAML:
		text, err := encode(r.Value)
		if err == nil && format == YAML {
			text, err = toYAML(text)
		} else if err == nil && r.Indented {
			text, err = indent(text)
		}
		if err != nil {
			return fmt.Errorf("writing %s: %w", strings.ToUpper(string(format)), err)
		}
		_, err = w.Write(text)
		return err
	case format == Simple && r.Simple != nil:
		return r.Simple(w)
	}
	return printTable(w, r.Header, r.Rows)
}

func printTable(w io.Writer, header []string, rows [][]string) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if header != nil {
		rows = append([][]string{header}, rows...)
	}
	for _, row := range rows {
		fmt.Fprintln(table, strings.Join(row, "\t"))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("writing: %w", err)
	}
	return nil
}

// encode returns a value as JSON in one line. A message has the names of its schema, with keys and
// values in base64 and 64-bit numbers as strings, as etcd's JSON gateway writes them.
func encode(value any) ([]byte, error) {
	message, isMessage := value.(proto.Message)
	if !isMessage {
		text, err := json.Marshal(value)
		return append(text, '\n'), err
	}
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(message)
	if err != nil {
		return nil, err
	}
	// protojson varies its spaces deliberately; Compact removes them.
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return nil, err
	}
	line.WriteByte('\n')
	return idField.ReplaceAllFunc(line.Bytes(), formatIDField), nil
}

// idField matches a field of a message that holds an id. A string of JSON cannot contain a match,
// since the quotes in it are escaped.
var idField = regexp.MustCompile(`"(cluster_id|member_id|memberID|leader)":"(\d+)"`)

func formatIDField(field []byte) []byte {
	parts := idField.FindSubmatch(field)
	id, err := strconv.ParseUint(string(parts[2]), 10, 64)
	if err != nil {
		return field
	}
	return fmt.Appendf(nil, `"%s":"%s"`, parts[1], raft.FormatID(id))
}

func indent(text []byte) ([]byte, error) {
	var b bytes.Buffer
	err := json.Indent(&b, text, "", "  ")
	return b.Bytes(), err
}

// toYAML returns JSON as YAML with the fields in the same order, as a document that begins with
// "---", so that several results are several documents.
func toYAML(text []byte) ([]byte, error) {
	var root yaml.Node // JSON is YAML
	if err := yaml.Unmarshal(text, &root); err != nil {
		return nil, err
	}
	clearStyles(&root)
	var b bytes.Buffer
	b.WriteString("---\n")
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(&root); err != nil {
		return nil, err
	}
	return b.Bytes(), encoder.Close()
}

// clearStyles makes the encoder choose the style of each node: blocks, and quotes where a string
// would be read as another type.
func clearStyles(node *yaml.Node) {
	node.Style = 0
	for _, child := range node.Content {
		clearStyles(child)
	}
}
