package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"

	"rtmps-edge/config"
	"rtmps-edge/internal/tidy"
)

func runCommand() *cobra.Command {
	file := defaultConfigFile
	c := &cobra.Command{
		Use:   "run",
		Short: "Run the edge; SIGHUP or a changed file reloads, SIGTERM drains",
		Long: `Run the edge until SIGTERM or SIGINT. Then it accepts nothing more, waits for
running streams ([limits] drain_timeout) and exits; a second signal ends them at once.
SIGHUP, or a change of the configuration file, reloads: all of it or, after any fault, nothing.`,
		Example: "  rtmps-edge run -c /etc/rtmps-edge/edge.toml",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return run(cmd, file) },
	}
	c.Flags().StringVarP(&file, "config", "c", defaultConfigFile, "configuration file")
	return c
}

func run(cmd *cobra.Command, file string) error {
	cfg, err := config.Load(file)
	if err != nil {
		return &badUse{err}
	}
	e, err := newEdge(cmd.ErrOrStderr(), cfg)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, syscall.SIGHUP)
	defer signal.Stop(hup)
	tidy.Room(ctx)
	go tidy.Run(ctx)
	tellReady(e.log, "running") // the sockets are open
	err = e.serve(ctx, hup)
	now, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer cancel()
	stop() // from here, a second signal ends what still runs
	tellStopping(e.log, e.cfg.Limits.DrainTimeout)
	e.drain(now)
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT) // it has ended well: a late one does not change that
	return err
}
