package defaults

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

// The defaults that docs/limits.md states are those of this package.
func TestDocumentedLimitsAreTheDefaults(t *testing.T) {
	rows := limitRows(t)
	for _, c := range []struct{ row, stated string }{
		{"connections", number(MaxConnections)},
		{"connections", number(PeerConnections)},
		{"connections for metrics", number(MaxMetricsConnections)},
		{"silent connections", seconds(FirstByteTimeout)},
		{"streams of a connection", number(MaxConcurrentStreams)},
		{"requests-in-flight", number(MaxRequestsInFlight)},
		{"open-streams", number(MaxOpenStreams)},
		{"watchers-of-a-stream", number(MaxWatchersPerStream)},
		{"max-request-bytes", size(MaxRequestBytes)},
		{"max-txn-ops", number(MaxTxnOps)},
		{"max-response-bytes", size(MaxResponseBytes)},
		{"quota-backend-bytes", size(QuotaBytes)},
		{"queue of the watch hub", size(WatchQueueBytes)},
		{"events of one revision", size(WatchRevisionBytes)},
		{"a stream's buffer", size(WatchStreamBufferBytes)},
		{"all streams' buffers", size(WatchTotalBufferBytes)},
		{"MaxRequestBytes", size(MaxRequestBytes)},
		{"MaxPendingRequests", number(MaxPendingRequests)},
		{"MaxPendingBytes", size(MaxPendingBytes)},
		{"MaxPendingReads", number(MaxPendingReads)},
		{"MaxUncommittedBytes", size(MaxUncommittedBytes)},
		{"read points", number(MaxPendingReads)},
		{"DiskLowWater", size(DiskLowWaterBytes)},
		{"LogMemoryBytes", size(LogMemoryBytes)},
		{"batch", size(MaxBatchBytes)},
		{"batch of the log", size(LogWriteBytes)},
		{"MaxInFlightBytes", size(MaxInFlightBytes)},
		{"restarts", fmt.Sprintf("%d in %s", MaxRestarts, seconds(RestartPeriod))},
		{"queues of a peer", size(PeerControlQueueBytes) + "; " + size(PeerBulkQueueBytes)},
		{"keepalive", seconds(PeerKeepaliveInterval)},
		{"memtables", "4 × " + size(StoreMemTableBytes)},
		{"block cache", size(StoreCacheBytes + 3*StoreMemTableBytes)},
		{"metadata of keys", size(StoreMetadataBytes)},
		{"open files", number(StoreOpenTables)},
	} {
		if !states(rows[c.row], c.stated) {
			t.Errorf("docs/limits.md does not state %q for %q: %q", c.stated, c.row, rows[c.row])
		}
	}
}

// limitRows returns the cells of the tables of docs/limits.md, by the first cell of their row.
func limitRows(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../../docs/limits.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		name := strings.TrimSpace(cells[0])
		rows[name] = append(rows[name], cells[1:]...)
	}
	return rows
}

// states reports whether a cell is the value, or begins with it.
func states(cells []string, value string) bool {
	for _, cell := range cells {
		rest, found := strings.CutPrefix(strings.TrimSpace(cell), value)
		if found && (rest == "" || strings.ContainsAny(rest[:1], " ,;(")) {
			return true
		}
	}
	return false
}

func size(bytes int64) string {
	switch {
	case bytes%(1<<30) == 0:
		return strconv.FormatInt(bytes>>30, 10) + " GiB"
	case bytes%(1<<20) == 0:
		return strconv.FormatInt(bytes>>20, 10) + " MiB"
	}
	return strconv.FormatFloat(float64(bytes)/(1<<20), 'f', -1, 64) + " MiB"
}

func number(n int) string {
	text := strconv.Itoa(n)
	if len(text) <= 3 {
		return text
	}
	return text[:len(text)-3] + "," + text[len(text)-3:]
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + " s" }
