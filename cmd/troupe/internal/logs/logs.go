// Package logs makes the logger of a process: one line for each event, in JSON with the field names
// of etcd's logs, or in a format for reading.
package logs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/rs/zerolog"
)

// NameFields sets the names of the fields of every line to those of etcd's logs, so that the tools
// for etcd's logs work. The names are global in zerolog: the command sets them, a library must not.
func NameFields() {
	zerolog.TimestampFieldName = "ts"
	zerolog.LevelFieldName = "level"
	zerolog.MessageFieldName = "msg"
	zerolog.CallerFieldName = "caller"
	zerolog.ErrorFieldName = "error"
	zerolog.DurationFieldFormat = zerolog.DurationFormatString // with the unit, as in etcd's logs
	zerolog.TimeFieldFormat = "2006-01-02T15:04:05.000Z0700"
	zerolog.CallerMarshalFunc = func(_ uintptr, file string, line int) string {
		return filepath.Join(filepath.Base(filepath.Dir(file)), filepath.Base(file)) + ":" + strconv.Itoa(line)
	}
}

// Options are the values of --log-level, --log-format, --log-outputs, --enable-log-rotation and
// --log-rotation-config-json.
type Options struct {
	Level   string
	Format  string
	Outputs []string
	// Rotate starts a new file when the one in Outputs has reached the size that Rotation names, in
	// the JSON of etcd. Outputs must hold one file.
	Rotate   bool
	Rotation string
}

// Check returns an error that names each flag with an invalid value, as far as that shows without
// opening the outputs.
func (o Options) Check() error {
	var errs []error
	if _, ok := levels[strings.ToLower(o.Level)]; !ok {
		errs = append(errs, fmt.Errorf("--log-level: %q is not debug, info, warn or error", o.Level))
	}
	if o.Format != "json" && o.Format != "console" {
		errs = append(errs, fmt.Errorf("--log-format: %q is neither json nor console", o.Format))
	}
	if o.Rotate {
		_, err := openRotating(o)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// New returns the logger, and a closer for the files that it writes to. An error names the flag.
func New(o Options) (zerolog.Logger, io.Closer, error) {
	if err := o.Check(); err != nil {
		return zerolog.Nop(), nil, err
	}
	var open openFile = openAppending
	if o.Rotate {
		var err error
		if open, err = openRotating(o); err != nil {
			return zerolog.Nop(), nil, err
		}
	}
	outputs, files, err := openOutputs(o.Outputs, open)
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
	return zerolog.New(w).Level(levels[strings.ToLower(o.Level)]).With().Timestamp().Caller().Logger(), files, nil
}

var levels = map[string]zerolog.Level{
	"debug": zerolog.DebugLevel, "info": zerolog.InfoLevel, "warn": zerolog.WarnLevel, "error": zerolog.ErrorLevel,
	// etcd's levels above error; nothing is logged at them here.
	"dpanic": zerolog.FatalLevel, "panic": zerolog.FatalLevel, "fatal": zerolog.FatalLevel,
}

// openFiles are the opened output files.
type openFiles []io.WriteCloser

func (f openFiles) Close() error {
	var errs []error
	for _, file := range f {
		errs = append(errs, file.Close())
	}
	return errors.Join(errs...)
}

// openFile opens the file of an output.
type openFile func(path string) (io.WriteCloser, error)

func openAppending(path string) (io.WriteCloser, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
}

func openOutputs(names []string, open openFile) ([]io.Writer, openFiles, error) {
	var outputs []io.Writer
	var opened openFiles
	for _, name := range names {
		switch name {
		case "default", "stderr", "systemd/journal":
			// The journal reads a service's standard error.
			outputs = append(outputs, os.Stderr)
		case "stdout":
			outputs = append(outputs, os.Stdout)
		case "":
		default:
			file, err := open(name)
			if err != nil {
				_ = opened.Close()
				return nil, nil, outputError(err)
			}
			outputs, opened = append(outputs, file), append(opened, file)
		}
	}
	if len(outputs) == 0 {
		return nil, nil, errors.New("--log-outputs: names no output; use default, stdout or a path")
	}
	return outputs, opened, nil
}

// outputError adds advice for the cause of an output that cannot be opened.
func outputError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--log-outputs: %w; name a file in a directory that exists", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("--log-outputs: %w; name a file that the user who runs the server may write", err)
	}
	return fmt.Errorf("--log-outputs: %w", err)
}

// isTerminal reports whether w is a terminal that shows colours.
func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok || runtime.GOOS == "windows" || os.Getenv("NO_COLOR") != "" {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
