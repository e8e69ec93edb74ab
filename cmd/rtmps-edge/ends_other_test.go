//go:build !linux

package main

func endingsOfLinux() []ending { return nil }
