package logs

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogLineHasEtcdsFields(t *testing.T) {
	NameFields()
	path := filepath.Join(t.TempDir(), "log")
	log, files, err := New(Options{Level: "info", Format: "json", Outputs: []string{path}})
	if err != nil {
		t.Fatal(err)
	}
	log.Debug().Msg("not shown")
	log.Info().Dur("took", 1500*time.Millisecond).Msg("shown")
	if err := files.Close(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var line map[string]string
	if err := json.Unmarshal(text, &line); err != nil {
		t.Fatalf("%q: %v", text, err)
	}
	if line["level"] != "info" || line["msg"] != "shown" || line["took"] != "1.5s" || !strings.HasPrefix(line["caller"], "logs/logs_test.go:") {
		t.Fatalf("%v", line)
	}
	if _, err := time.Parse("2006-01-02T15:04:05.000Z0700", line["ts"]); err != nil {
		t.Fatal(err)
	}
}

func TestInvalidLogFlagIsNamed(t *testing.T) {
	for want, o := range map[string]Options{
		"--log-level":   {"loud", "json", []string{"default"}},
		"--log-format":  {"info", "xml", []string{"default"}},
		"--log-outputs": {"info", "json", []string{"/no/such/dir/file"}},
	} {
		if _, _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
