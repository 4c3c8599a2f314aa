package troupe

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strconv"
	"time"

	"github.com/rs/zerolog"
)

// SlogLogger returns a logger for Config.Logger that passes each line to a handler of log/slog: the
// message, the level and the fields in their order. The handler decides which levels it takes.
func SlogLogger(handler slog.Handler) zerolog.Logger { return zerolog.New(&slogWriter{handler}) }

// slogWriter makes records of the lines that zerolog writes.
type slogWriter struct{ handler slog.Handler }

// slogLevels are the levels of log/slog. Those above Error stop a program, which a handler does not
// do.
var slogLevels = map[zerolog.Level]slog.Level{
	zerolog.TraceLevel: slog.LevelDebug - 4, zerolog.DebugLevel: slog.LevelDebug, zerolog.InfoLevel: slog.LevelInfo,
	zerolog.WarnLevel: slog.LevelWarn, zerolog.ErrorLevel: slog.LevelError,
	zerolog.FatalLevel: slog.LevelError + 4, zerolog.PanicLevel: slog.LevelError + 4,
}

// Write handles a line without a level.
func (w *slogWriter) Write(line []byte) (int, error) { return w.WriteLevel(zerolog.InfoLevel, line) }

// WriteLevel implements zerolog.LevelWriter. A line that is not zerolog's JSON becomes the message.
func (w *slogWriter) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	ctx := context.Background()
	slogLevel, known := slogLevels[level]
	if !known {
		slogLevel = slog.LevelInfo
	}
	if !w.handler.Enabled(ctx, slogLevel) {
		return len(line), nil
	}
	message, attrs, err := decodeLogLine(line)
	if err != nil {
		message, attrs = string(bytes.TrimSpace(line)), nil
	}
	record := slog.NewRecord(time.Now(), slogLevel, message, 0)
	record.AddAttrs(attrs...)
	return len(line), w.handler.Handle(ctx, record)
}

// decodeLogLine returns the message and the fields of a line. The level and the time are the
// record's.
func decodeLogLine(line []byte) (message string, attrs []slog.Attr, err error) {
	d := json.NewDecoder(bytes.NewReader(line))
	d.UseNumber()
	if _, err := d.Token(); err != nil { // the brace
		return "", nil, err
	}
	for d.More() {
		key, err := d.Token()
		if err != nil {
			return "", nil, err
		}
		var value any
		if err := d.Decode(&value); err != nil {
			return "", nil, err
		}
		switch name, _ := key.(string); name {
		case zerolog.MessageFieldName:
			message, _ = value.(string)
		case zerolog.LevelFieldName, zerolog.TimestampFieldName:
		default:
			attrs = append(attrs, slog.Any(name, logValue(value)))
		}
	}
	return message, attrs, nil
}

// logValue returns a number as an integer if it is one.
func logValue(value any) any {
	number, isNumber := value.(json.Number)
	if !isNumber {
		return value
	}
	if i, err := number.Int64(); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(number.String(), 10, 64); err == nil {
		return u
	}
	f, _ := number.Float64()
	return f
}
