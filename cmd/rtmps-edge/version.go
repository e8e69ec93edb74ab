package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// Set when a release is built.
var (
	version  = "dev"
	revision = "" // "" = what the Go toolchain wrote into the binary
)

// program is what "version" tells.
type program struct {
	Version string `json:"version"`
	Commit  string `json:"commit"`
	Go      string `json:"go"`
	OS      string `json:"os"`
	Arch    string `json:"arch"`
}

func versionCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "version",
		Short:   "Print version, commit and Go version",
		Example: "  rtmps-edge version\n  rtmps-edge version --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p := program{version, commit(), runtime.Version(), runtime.GOOS, runtime.GOARCH}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), p)
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "rtmps-edge %s, commit %s, %s %s/%s\n", p.Version, p.Commit, p.Go, p.OS, p.Arch)
			return err
		},
	}
	addJSON(c, &asJSON)
	return c
}

// commit is what the program was built from.
func commit() string {
	info, ok := debug.ReadBuildInfo()
	if revision != "" || !ok {
		return cmp.Or(revision, "unknown")
	}
	stamp, dirty := "unknown", ""
	for _, s := range info.Settings {
		switch {
		case s.Key == "vcs.revision":
			stamp = s.Value[:min(len(s.Value), 12)]
		case s.Key == "vcs.modified" && s.Value == "true":
			dirty = "+changes"
		}
	}
	return stamp + dirty
}
