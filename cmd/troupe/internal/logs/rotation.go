package logs

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"gopkg.in/natefinch/lumberjack.v2"
)

// RotationDefault is the default of --log-rotation-config-json: a new file at 100 MB; old files are
// kept for ever.
const RotationDefault = `{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}`

// openRotating returns a function that opens the one file of the outputs for rotation.
func openRotating(o Options) (openFile, error) {
	paths := 0
	for _, name := range o.Outputs {
		if !isStream(name) {
			paths++
		}
	}
	if paths != 1 {
		return nil, errors.New("--enable-log-rotation: needs exactly one file in --log-outputs; name one, or leave the flag out")
	}
	// The fields of a Logger and their names are those of etcd's JSON.
	rotated := &lumberjack.Logger{}
	decoder := json.NewDecoder(strings.NewReader(o.Rotation))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(rotated)
	if err == nil && (rotated.MaxSize < 0 || rotated.MaxAge < 0 || rotated.MaxBackups < 0) {
		err = errors.New("a number is negative")
	}
	if err != nil {
		return nil, fmt.Errorf("--log-rotation-config-json: %w; write %s", err, RotationDefault)
	}
	return func(path string) (io.WriteCloser, error) {
		// A path that cannot be written is an error of the start, not of the first rotation.
		file, err := openAppending(path)
		if err != nil {
			return nil, err
		}
		rotated.Filename = path
		return rotated, file.Close()
	}, nil
}

// isStream reports whether an output is no file.
func isStream(name string) bool {
	return name == "" || name == "default" || name == "stderr" || name == "stdout" || name == "systemd/journal"
}
