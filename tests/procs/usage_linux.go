package procs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// clockTick is the unit of utime and stime in /proc/<pid>/stat. The kernel shows user space 100 Hz on every
// architecture that Go runs on, whatever its own timer does.
const clockTick = 10 * time.Millisecond

func usageOf(pid int) (Usage, error) {
	cpu, err := cpuOf(pid)
	if err != nil {
		return Usage{}, err
	}
	status, err := fieldsOf(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return Usage{}, err
	}
	io, err := fieldsOf(fmt.Sprintf("/proc/%d/io", pid))
	if err != nil {
		return Usage{}, err
	}
	return Usage{
		CPU:           cpu,
		ResidentBytes: status["VmRSS"] << 10, // kB
		PeakBytes:     status["VmHWM"] << 10,
		WrittenBytes:  io["write_bytes"],
	}, nil
}

func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses and may hold anything: count from its end. utime and stime are
	// fields 14 and 15 of the line, the 12th and 13th after the command.
	_, rest, _ := strings.Cut(string(stat[bytes.LastIndexByte(stat, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields after the command", pid, len(fields))
	}
	var ticks uint64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/%d/stat: %w", pid, err)
		}
		ticks += n
	}
	return time.Duration(ticks) * clockTick, nil
}

// fieldsOf reads lines of the form `Name:  123 kB`; lines with other values are left out.
func fieldsOf(path string) (map[string]uint64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	values := make(map[string]uint64)
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseUint(fields[0], 10, 64); err == nil {
			values[name] = n
		}
	}
	return values, nil
}
