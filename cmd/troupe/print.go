package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// printJSON writes a message in one line of protobuf's JSON, as etcd's JSON gateway does: keys and
// values in base64, 64-bit numbers as strings, names as in the schema.
func printJSON(w io.Writer, m proto.Message) error {
	text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	// protojson varies its spaces deliberately; Compact removes them.
	var line bytes.Buffer
	if err := json.Compact(&line, text); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	line.WriteByte('\n')
	_, err = w.Write(line.Bytes())
	return err
}

// printKV writes key and value on a line each, as etcdctl does.
func printKV(w io.Writer, kv *mvccpb.KeyValue, keys, values bool) {
	if keys {
		fmt.Fprintf(w, "%s\n", kv.Key)
	}
	if values {
		fmt.Fprintf(w, "%s\n", kv.Value)
	}
}

// formatBytes returns a size with a binary unit, for instance "1.5 MiB".
func formatBytes(n int64) string {
	const unit = 1024
	if n < unit {
		return fmt.Sprintf("%d B", n)
	}
	size, prefix := float64(n)/unit, 0
	for size >= unit && prefix < 4 {
		size /= unit
		prefix++
	}
	return fmt.Sprintf("%.1f %ciB", size, "KMGTP"[prefix])
}
