// Command rtmps-edge is encrypted ingest with stream keys for RTMP servers
// that were never built for the open internet.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"rtmps-edge/internal/fault"
)

// Exit statuses of the contract.
const (
	exitWell   = 0
	exitFailed = 1 // at work
	exitBad    = 2 // bad use or bad configuration
)

func main() { os.Exit(execute(os.Args[1:])) }

// execute runs one command line and returns the exit status.
func execute(args []string) int {
	root := rootCommand()
	root.SetArgs(args)
	err := root.ExecuteContext(context.Background())
	var bad *badUse
	var faults fault.List
	switch {
	case err == nil:
		return exitWell
	case errors.As(err, &faults):
		fmt.Fprintln(os.Stderr, err)
		return exitBad
	case errors.As(err, &bad):
		fmt.Fprintf(os.Stderr, "rtmps-edge: %v\n", err)
		return exitBad
	}
	fmt.Fprintf(os.Stderr, "rtmps-edge: %v\n", err)
	return exitFailed
}

// badUse is an error for which the command line or a file is to blame.
type badUse struct{ err error }

func (e *badUse) Error() string { return e.err.Error() }
func (e *badUse) Unwrap() error { return e.err }

// configFile is the -c flag, which many commands have.
const defaultConfigFile = "edge.toml"

func rootCommand() *cobra.Command {
	file := defaultConfigFile
	root := &cobra.Command{
		Use:   "rtmps-edge",
		Short: "Encrypted ingest with stream keys in front of plain RTMP servers",
		Long: `rtmps-edge terminates RTMPS, checks the stream key, and only then speaks plain
RTMP, in its own words, to your server. Without a command it runs the edge.

Exit status: 0 well, 1 failed at work, 2 bad use or bad configuration.`,
		Example:       "  rtmps-edge demo\n  rtmps-edge key add alice\n  rtmps-edge check -c edge.toml\n  rtmps-edge run -c edge.toml",
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          noArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return run(cmd, file) },
	}
	root.Flags().StringVarP(&file, "config", "c", defaultConfigFile, "configuration file")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &badUse{fmt.Errorf("%w (see %s -h)", err, cmd.CommandPath())}
	})
	root.AddCommand(runCommand(), checkCommand(), demoCommand(), keyCommand(), userCommand(), probeCommand(), statusCommand(), sessionsCommand(), topCommand(), kickCommand(), bansCommand(), drainCommand(), reloadCommand(),
		signCommand(), verifyCommand(), versionCommand())
	complete(root)
	return root
}

// noArgs refuses arguments that a command has no use for.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return &badUse{fmt.Errorf("unknown argument or command %q (see %s -h)", args[0], cmd.CommandPath())}
}
