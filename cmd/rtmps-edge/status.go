package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"rtmps-edge/admin"
	"rtmps-edge/internal/terminal"
)

func statusCommand() *cobra.Command {
	f, alive := &steerFlags{}, false
	c := &cobra.Command{
		Use:   "status",
		Short: "Say whether the running edge is ready for streams, and if not, why",
		Long: `Print one line, and exit with 0 when new streams can come. With --alive it is enough that the
edge answers: who restarts it must not do so because an origin is away.`,
		Example: "  rtmps-edge status -c /etc/rtmps-edge/edge.toml\n  until rtmps-edge status >/dev/null 2>&1; do sleep 1; done",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return status(cmd, f, alive) },
	}
	f.add(c)
	c.Flags().BoolVar(&alive, "alive", false, "do not fail because the edge is not ready")
	return c
}

func status(cmd *cobra.Command, f *steerFlags, alive bool) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var s admin.Status
	if err := c.Get(cmd.Context(), "/api/v1/status", &s); err != nil {
		return f.failed(cmd, err)
	}
	if f.json {
		err = writeJSON(cmd.OutOrStdout(), s)
	} else {
		_, err = fmt.Fprintln(cmd.OutOrStdout(), statusLine(s))
	}
	if err == nil && !s.Ready && !alive {
		return errors.New("the edge is not ready")
	}
	return err
}

func statusLine(s admin.Status) string {
	state := "ready"
	if !s.Ready {
		state = "not ready: " + terminal.Plain(strings.Join(s.Reasons, "; "))
	}
	return fmt.Sprintf("%s, %d publishing, %d playing, up %s", state, s.Publishers, s.Players, span(s.Seconds))
}
