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

// clockTick is the unit of utime and stime in /proc/<pid>/stat. The kernel shows user space 100 Hz
// on every architecture that Go runs on, whatever its own timer does.
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
	// The second field is the command in parentheses and may hold anything: count from its end. utime
	// and stime are fields 14 and 15 of the line, the 12th and 13th after the command.
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

// sector is the unit of /sys/dev/block/<device>/stat, whatever the device's own is.
const sector = 512

func deviceWritten(path string) (uint64, error) {
	var stat syscall.Stat_t
	if err := syscall.Stat(path, &stat); err != nil {
		return 0, err
	}
	// The device number as glibc takes it apart: major in bits 8–19 and 44–63, minor in 0–7 and 20–43.
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
	return sectors * sector, err
}
