package output

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.yaml.in/yaml/v3"
)

func result() Result {
	return Result{
		Value: &pb.RangeResponse{
			Header: &pb.ResponseHeader{ClusterId: 1 << 63, MemberId: 10, Revision: 7},
			Kvs:    []*mvccpb.KeyValue{{Key: []byte("k"), Value: []byte("v"), ModRevision: 7}},
			Count:  1,
		},
		Simple: func(w io.Writer) error { _, err := fmt.Fprintln(w, "k\nv"); return err },
		Header: []string{"KEY", "VALUE"}, Rows: [][]string{{"k", "v"}},
	}
}

func TestEveryFormatOfAResult(t *testing.T) {
	for format, want := range map[Format]string{
		Simple: "k\nv\n",
		Table:  "KEY  VALUE\nk    v\n",
		JSON: `{"header":{"cluster_id":"0x8000000000000000","member_id":"0xa","revision":"7"},` +
			`"kvs":[{"key":"aw==","mod_revision":"7","value":"dg=="}],"count":"1"}` + "\n",
		YAML: "---\nheader:\n  cluster_id: \"0x8000000000000000\"\n  member_id: \"0xa\"\n  revision: \"7\"\n" +
			"kvs:\n  - key: aw==\n    mod_revision: \"7\"\n    value: dg==\ncount: \"1\"\n",
	} {
		var out bytes.Buffer
		if err := Print(&out, format, result()); err != nil || out.String() != want {
			t.Errorf("%s: %v\n%s\nwant\n%s", format, err, out.String(), want)
		}
	}
}

// A string that looks like a number, a boolean or null stays a string in YAML.
func TestYAMLHoldsTheValuesOfJSON(t *testing.T) {
	value := map[string]any{
		"number": 1.5, "text": "1.5", "yes": "yes", "true": "true", "null": "null", "none": nil, "list": []any{},
		"lines": "a\nb", "colon": "a: b", "dash": "- a", "hex": "0xa", "date": "2026-01-01", "empty": "", "object": map[string]any{"a": true},
	}
	var fromJSON, fromYAML any
	for format, decode := range map[Format]func([]byte) error{
		JSON: func(b []byte) error { return json.Unmarshal(b, &fromJSON) },
		YAML: func(b []byte) error { return yaml.Unmarshal(b, &fromYAML) },
	} {
		var out bytes.Buffer
		if err := Print(&out, format, Result{Value: value, Indented: true}); err != nil {
			t.Fatal(err)
		}
		if err := decode(out.Bytes()); err != nil {
			t.Fatalf("%s: %v\n%s", format, err, out.String())
		}
	}
	if !reflect.DeepEqual(fromJSON, fromYAML) {
		t.Fatalf("JSON %v\nYAML %v", fromJSON, fromYAML)
	}
}

func TestUnknownFormatIsRefused(t *testing.T) {
	f := Simple
	if err := f.Set("xml"); err == nil || f != Simple {
		t.Fatalf("%v, %v", err, f)
	}
}
