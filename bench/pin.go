package main

import (
	"os"
	"runtime"
	"strconv"
)

// The load and the origin share one core, the proxy has the other to itself.
const (
	loadCore  = 0
	proxyCore = 1
)

// pinSelf starts this program anew on loadCore: only so do all of its threads
// stay there, and the runtime counts one processor.
func pinSelf() error {
	const mark = "RTMPS_EDGE_BENCH_PINNED"
	if runtime.NumCPU() < 2 && os.Getenv(mark) == "" || os.Getenv(mark) != "" {
		return nil
	}
	runtime.LockOSThread()
	if err := onCore(loadCore); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	return execSelf(self, os.Args, append(os.Environ(), mark+"=1"))
}

// pinned is the beginning of a command that runs on a core.
func pinned(core int) []string { return []string{"taskset", "-c", strconv.Itoa(core)} }
