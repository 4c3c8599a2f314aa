package troupe_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/troupe-raft/troupe"
)

// The lines of a node, through log/slog.
func ExampleSlogLogger() {
	handler := slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey {
				return slog.Attr{} // for the test
			}
			return a
		},
	})
	logger := troupe.SlogLogger(handler) // for Config.Logger
	logger.Info().Uint64("term", 7).Str("leader", "0x2").Msg("leader known")
	logger.Debug().Msg("discarded by the handler")
	// Output: level=INFO msg="leader known" term=7 leader=0x2
}

// recordingHandler keeps what it handles, as text.
type recordingHandler struct{ lines []string }

func (h *recordingHandler) Enabled(context.Context, slog.Level) bool { return true }
func (h *recordingHandler) WithAttrs([]slog.Attr) slog.Handler       { return h }
func (h *recordingHandler) WithGroup(string) slog.Handler            { return h }
func (h *recordingHandler) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool { line += " " + a.String(); return true })
	h.lines = append(h.lines, line)
	return nil
}

func TestSlogReceivesLevelsAndFields(t *testing.T) {
	var h recordingHandler
	l := troupe.SlogLogger(&h)
	l.Warn().Uint64("big", 1<<63).Float64("ratio", 0.5).Bool("yes", true).Ints("list", []int{1, 2}).Err(errors.New("why")).Msg("all kinds")
	l.Error().Int("n", -3).Str("quoted", `a "b"`).Msg("")
	l.Log().Msg("no level")
	if _, err := l.Write([]byte("not JSON\n")); err != nil {
		t.Error(err)
	}
	want := []string{
		"WARN all kinds big=9223372036854775808 ratio=0.5 yes=true list=[1 2] error=why",
		`ERROR  n=-3 quoted=a "b"`,
		"INFO no level",
		"INFO not JSON",
	}
	if got := strings.Join(h.lines, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("received\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}
