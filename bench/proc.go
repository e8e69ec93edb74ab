package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"time"
)

// usage is what a process has taken of the processor.
type usage struct {
	cpu  time.Duration // user and system, all threads, those that have ended too
	wait time.Duration // ready to run, but the processor was somebody else's
}

func (u usage) minus(v usage) usage { return usage{u.cpu - v.cpu, u.wait - v.wait} }

// readUsage asks the process's own clock, which counts nanoseconds;
// /proc/PID/stat counts the same in hundredths of a second.
func readUsage(pid int) (usage, error) {
	cpu, err := processClock(pid)
	if err != nil {
		return usage{}, err
	}
	return usage{cpu, readWait(pid)}, nil
}

// readWait adds up the threads that there are; it only serves to tell how much
// others disturbed.
func readWait(pid int) (wait time.Duration) {
	dir := fmt.Sprintf("/proc/%d/task", pid)
	tasks, _ := os.ReadDir(dir)
	for _, t := range tasks {
		b, _ := os.ReadFile(dir + "/" + t.Name() + "/schedstat")
		if f := bytes.Fields(b); len(f) == 3 {
			n, _ := strconv.ParseInt(string(f[1]), 10, 64)
			wait += time.Duration(n)
		}
	}
	return wait
}

// settled returns the usage when the process has come to rest: work that a
// proxy puts off until after the last byte is its work too.
func settled(pid int) (usage, error) {
	const pause, rest = 20 * time.Millisecond, 300 * time.Microsecond
	before, err := readUsage(pid)
	for range 100 {
		if err != nil {
			break
		}
		time.Sleep(pause)
		var now usage
		now, err = readUsage(pid)
		if now.cpu-before.cpu < rest {
			return now, err
		}
		before = now
	}
	return before, err
}

// readRSS returns the resident memory of a process in bytes.
func readRSS(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid))
	if err != nil {
		return 0, err
	}
	for line := range bytes.Lines(b) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "Rss:" {
			n, err := strconv.ParseInt(string(f[1]), 10, 64)
			return n << 10, err
		}
	}
	return 0, errors.New("no Rss in smaps_rollup")
}
