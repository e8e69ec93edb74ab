// Command sbom tells what a Go program was made of: a bill of materials
// (CycloneDX, JSON) and the licences of all modules in it, read from what the Go
// toolchain wrote into the program and from the module cache. Nothing is asked of
// the network, and the same program gives the same bytes.
//
//	sbom -notices NOTICES PROGRAM > rtmps-edge.cdx.json
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

func main() {
	notices := flag.String("notices", "", "write the licences to this `file`")
	version := flag.String("version", "", "the program's version, where the toolchain knows none")
	flag.Parse()
	if flag.NArg() != 1 {
		fmt.Fprintln(os.Stderr, "usage: sbom [-version VERSION] [-notices FILE] PROGRAM")
		os.Exit(2)
	}
	if err := run(os.Stdout, flag.Arg(0), *version, *notices); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func run(w io.Writer, program, version, notices string) error {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return err
	}
	if version == "" {
		version = info.Main.Version
	}
	sum, err := sumOf(program)
	if err != nil {
		return err
	}
	cache, err := goEnv("GOMODCACHE")
	if err != nil {
		return err
	}
	root, err := goEnv("GOROOT")
	if err != nil {
		return err
	}
	parts, err := partsOf(info, root, cache)
	if err != nil {
		return err
	}
	at, err := commitTime()
	if err != nil {
		return err
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	if err := e.Encode(bill(info, version, sum, at, parts)); err != nil {
		return err
	}
	if notices == "" {
		return nil
	}
	return os.WriteFile(notices, noticesOf(parts), 0o644)
}

// commitTime is what SOURCE_DATE_EPOCH says; "" if it says nothing.
func commitTime() (string, error) {
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return "", nil
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return "", fmt.Errorf("SOURCE_DATE_EPOCH: %w", err)
	}
	return time.Unix(seconds, 0).UTC().Format(time.RFC3339), nil
}

// goEnv asks the toolchain where it keeps things.
func goEnv(name string) (string, error) {
	out, err := exec.Command("go", "env", name).Output()
	value := strings.TrimSpace(string(out))
	if err == nil && value == "" {
		err = fmt.Errorf("go env %s says nothing", name)
	}
	return value, err
}
