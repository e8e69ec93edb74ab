//go:build !linux

package main

import (
	"errors"
	"syscall"
	"time"
)

// Elsewhere the harness builds, so that the module does, and says no.
var errLinux = errors.New("the benchmarks need Linux: its process clocks, /proc and affinity")

func processClock(int) (time.Duration, error)   { return 0, errLinux }
func onCore(int) error                          { return errLinux }
func raiseFiles()                               {}
func notOutliving() *syscall.SysProcAttr        { return nil }
func execSelf(string, []string, []string) error { return errLinux }
