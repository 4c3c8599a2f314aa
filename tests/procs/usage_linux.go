package procs

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of utime and stime in /proc/<pid>/stat: 100 Hz on every architecture that
// Go supports.
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
	return Usage{
		CPU:           cpu,
		ResidentBytes: status["VmRSS"] << 10, // kB
		PeakBytes:     status["VmHWM"] << 10,
	}, nil
}

func cpuOf(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The second field is the command in parentheses, which may contain any character: the fields are
	// counted from its end. utime and stime are the fields 14 and 15, the 12th and 13th after it.
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

// fieldsOf parses the lines of a file of the form `Name:  123 kB` and skips the others.
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

// sectorBytes is the unit of /sys/dev/block/<device>/stat for every device.
const sectorBytes = 512

func deviceWritten(path string) (uint64, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return 0, err
	}
	// As in glibc, the major number is in the bits 8–19 and 44–63, the minor in 0–7 and 20–43.
	device := uint64(stat.Dev)
	major, minor := device>>8&0xfff|device>>32&^0xfff, device&0xff|device>>12&^0xff
	line, err := os.ReadFile(fmt.Sprintf("/sys/dev/block/%d:%d/stat", major, uint32(minor)))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(line))
	if len(fields) < 7 {
		return 0, fmt.Errorf("/sys/dev/block/%d:%d/stat has %d fields", major, minor, len(fields))
	}
	sectors, err := strconv.ParseUint(fields[6], 10, 64)
	return sectors * sectorBytes, err
}
