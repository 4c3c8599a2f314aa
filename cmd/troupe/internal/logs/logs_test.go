package logs

import (
	"encoding/json"
	"errors"
	"io/fs"
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

func TestLogFileIsRotated(t *testing.T) {
	dir := t.TempDir()
	log, files, err := New(Options{
		Level: "info", Format: "json", Outputs: []string{filepath.Join(dir, "log")},
		Rotate: true, Rotation: `{"maxsize": 1, "maxbackups": 1}`,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer files.Close()
	long := strings.Repeat("x", 100<<10)
	for range 11 {
		log.Info().Str("long", long).Msg("line")
	}
	paths, err := filepath.Glob(filepath.Join(dir, "log*"))
	if err != nil || len(paths) != 2 {
		t.Fatalf("files %q, %v; want the log and one older file", paths, err)
	}
	for _, path := range paths {
		if info, err := os.Stat(path); err != nil || info.Size() > 1<<20 || info.Size() == 0 {
			t.Errorf("%s: %+v, %v", path, info, err)
		}
	}
}

func TestOutputErrorHasAdviceForItsCauseOnly(t *testing.T) {
	for cause, advice := range map[error]string{
		fs.ErrNotExist: "in a directory that exists", fs.ErrPermission: "may write", errors.New("is a directory"): "",
	} {
		err := outputError(cause)
		for _, text := range []string{"in a directory that exists", "may write"} {
			if !errors.Is(err, cause) || strings.Contains(err.Error(), text) != (text == advice) {
				t.Errorf("%v: want the advice %q only", err, advice)
			}
		}
	}
}

func TestInvalidLogFlagIsNamed(t *testing.T) {
	for want, o := range map[string]Options{
		"--log-level":                {Level: "loud", Format: "json", Outputs: []string{"default"}},
		"--log-format":               {Level: "info", Format: "xml", Outputs: []string{"default"}},
		"--log-outputs":              {Level: "info", Format: "json", Outputs: []string{"/no/such/dir/file"}},
		"--log-outputs: ":            {Level: "info", Format: "json", Outputs: []string{"/no/such/dir/file"}, Rotate: true, Rotation: "{}"},
		"--enable-log-rotation":      {Level: "info", Format: "json", Outputs: []string{"stderr"}, Rotate: true, Rotation: "{}"},
		"--enable-log-rotation: ":    {Level: "info", Format: "json", Outputs: []string{"/a", "/b"}, Rotate: true, Rotation: "{}"},
		"--log-rotation-config-json": {Level: "info", Format: "json", Outputs: []string{"/a"}, Rotate: true, Rotation: `{"maxsise": 1}`},
		"a number is negative":       {Level: "info", Format: "json", Outputs: []string{"/a"}, Rotate: true, Rotation: `{"maxsize": -1}`},
	} {
		if _, _, err := New(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
