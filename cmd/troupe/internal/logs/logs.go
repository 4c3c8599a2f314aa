// Package logs makes the process's logger: one line an event, in JSON under the names that etcd's logs have, or for people.
package logs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// NameFields sets the names of the fields that every line has: those of etcd's logs, so that what reads etcd's logs reads
// ours. They are global in zerolog, so only the command may set them; an embedder's belong to the embedder.
func NameFields() {
	zerolog.TimestampFieldName = "ts"
	zerolog.LevelFieldName = "level"
	zerolog.MessageFieldName = "msg"
	zerolog.CallerFieldName = "caller"
	zerolog.ErrorFieldName = "error"
	zerolog.DurationFieldFormat = zerolog.DurationFormatString // with its unit, as etcd's
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z0700"
	zerolog.CallerMarshalFunc = func(_ uintptr, file string, line int) string {
		return filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)) + ":" + strconv.Itoa(line)
	}
}

// Options are the logger's settings as the flags have them.
type Options struct {
	Level   string
	Format  string
	Outputs []string
}

// New makes the logger. The closer closes the files it writes to.
func New(o Options) (zerolog.Logger, io.Closer, error) {
	level, ok := levels[strings.ToLower(o.Level)]
	if !ok {
		return zerolog.Nop(), nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", o.Level)
	}
	if o.Format != "json" && o.Format != "console" {
		return zerolog.Nop(), nil, fmt.Errorf("--log-format: %q is neither json nor console", o.Format)
	}
	outputs, files, err := openOutputs(o.Outputs)
	if err != nil {
		return zerolog.Nop(), nil, err
	}
	if o.Format == "console" {
		for i, w := range outputs {
			outputs[i] = zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly + ".000", NoColor: !isTerminal(w)}
		}
	}
	w := outputs[0]
	if len(outputs) > 1 {
		w = zerolog.MultiLevelWriter(outputs...)
	}
	return zerolog.New(w).Level(level).With().Timestamp().Caller().Logger(), files, nil
}

var levels = map[string]zerolog.Level{
	"debug": zerolog.DebugLevel, "info": zerolog.InfoLevel, "warn": zerolog.WarnLevel, "error": zerolog.ErrorLevel,
	// etcd's levels above error: nothing here is logged at them.
	"dpanic": zerolog.FatalLevel, "panic": zerolog.FatalLevel, "fatal": zerolog.FatalLevel,
}

// files are the opened outputs.
type openFiles []*os.File

func (f openFiles) Close() error {
	var errs []error
	for _, one := range f {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

func openOutputs(names []string) ([]io.Writer, openFiles, error) {
	var outputs []io.Writer
	var opened openFiles
	for _, name := range names {
		switch name {
		case "default", "stderr", "systemd/journal":
			// A service's standard error is where the journal reads anyway.
			outputs = append(outputs, os.Stderr)
		case "stdout":
			outputs = append(outputs, os.Stdout)
		case "":
		default:
			file, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
			if err != nil {
				_ = opened.Close()
				return nil, nil, fmt.Errorf("--log-outputs: %w; name a file in a directory that exists", err)
			}
			outputs, opened = append(outputs, file), append(opened, file)
		}
	}
	if len(outputs) == 0 {
		return nil, nil, errors.New("--log-outputs: names none; use default, stdout or a path")
	}
	return outputs, opened, nil
}

// terminal tells whether colours would be seen.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || runtime.GOOS == "windows" || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
