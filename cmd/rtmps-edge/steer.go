package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/admin"
	"rtmps-edge/config"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/terminal"
)

// steerFlags are those of commands that speak with a running edge.
type steerFlags struct {
	config, at, tokenFile string
	json                  bool
}

func (f *steerFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", defaultConfigFile, "configuration file of the running edge: its [admin] says where to ask")
	c.Flags().StringVar(&f.at, "admin", "", "ask there instead: host:port, unix:PATH or a URL")
	c.Flags().StringVar(&f.tokenFile, "token-file", "", "file with the token (default: token_file in [admin])")
	addJSON(c, &f.json)
}

// client finds the edge.
func (f *steerFlags) client() (*admin.Client, error) {
	where, err := f.where()
	if err != nil {
		return nil, &badUse{err}
	}
	if where.Listen == "" {
		return nil, &badUse{fmt.Errorf("%s has no admin address: listen in [admin] is \"\"", f.config)}
	}
	c, err := admin.NewClient(where.Listen, where.Token)
	if err != nil {
		return nil, &badUse{fmt.Errorf("admin address %s: %w", where.Listen, err)}
	}
	return c, nil
}

// where takes from the configuration what no flag says.
func (f *steerFlags) where() (config.Admin, error) {
	a, err := config.AdminOf(f.config)
	if f.at != "" && (err != nil || f.at != a.Listen) {
		a, err = config.Admin{Listen: f.at}, nil // another edge, which must not get this one's token
	}
	if errors.Is(err, os.ErrNotExist) {
		return a, fmt.Errorf("%s: there is no such file; say where it is with -c, or where the edge is with --admin", f.config)
	}
	if err != nil {
		return a, err
	}
	if f.tokenFile != "" {
		b, err := readfile.Read(f.tokenFile, 4<<10)
		if err != nil {
			return a, fmt.Errorf("%s: %s", f.tokenFile, readfile.Reason(err))
		}
		a.Token = secret.New(strings.TrimSpace(string(b)))
	}
	if !strings.Contains(a.Listen, "{{") {
		return a, nil
	}
	a.Listen, err = config.Resolve(a.Listen)
	return a, err
}

// ask sends one question and gives the answer to show, or prints it as it came.
func ask[T any](cmd *cobra.Command, f *steerFlags, method, path string, show func(io.Writer, T)) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	var raw []byte
	if err := c.Do(cmd.Context(), method, path, &raw); err != nil {
		return f.failed(cmd, err)
	}
	if f.json {
		_, err := cmd.OutOrStdout().Write(raw)
		return err
	}
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return fmt.Errorf("the answer is not an rtmps-edge's: %w", err)
	}
	show(cmd.OutOrStdout(), v)
	return nil
}

// failed prints a failure as JSON, if that was asked for, and makes it the
// command's.
func (f *steerFlags) failed(cmd *cobra.Command, err error) error {
	var a *admin.AnswerError
	if !errors.As(err, &a) {
		return err
	}
	if f.json {
		_ = writeJSON(cmd.OutOrStdout(), a.Failure)
	}
	if a.Status == 422 || a.Status == 400 { // a faulty file, or a wrong argument
		return &badUse{err}
	}
	return err
}

func showDone(w io.Writer, d admin.Done) {
	fmt.Fprintln(w, d.Done)
	if d.Ban != nil {
		fmt.Fprintf(w, "%s is banned until %s\n", d.Ban.Network, d.Ban.Until.Local().Format(time.DateTime))
	}
}

func kickCommand() *cobra.Command {
	f, ban := &steerFlags{}, time.Duration(0)
	c := &cobra.Command{
		Use:   "kick ID",
		Short: "End a stream of the running edge, and ban its address if wanted",
		Long: `End the session ID, which "rtmps-edge sessions" and the log tell; its beginning is enough
where no other session has the same. Encoders come back by themselves: --ban keeps the address out.`,
		Example: "  rtmps-edge kick 4f1c09a2b7d3\n  rtmps-edge kick 4f1c --ban 1h",
		Args:    oneArg("ID"),
		RunE:    func(cmd *cobra.Command, args []string) error { return kick(cmd, f, args[0], ban) },
	}
	f.add(c)
	c.Flags().DurationVar(&ban, "ban", 0, "ban its address for so long, as 10m or 24h")
	return c
}

func kick(cmd *cobra.Command, f *steerFlags, id string, ban time.Duration) error {
	if ban < 0 {
		return &badUse{errors.New("--ban must be a duration, such as 10m or 24h")}
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	if id, err = wholeID(cmd.Context(), c, id); err != nil {
		return f.failed(cmd, err)
	}
	path := "/api/v1/sessions/" + url.PathEscape(id)
	if ban > 0 {
		path += "?ban=" + ban.String()
	}
	return ask(cmd, f, "DELETE", path, showDone)
}

// wholeID completes the beginning of a session's id.
func wholeID(ctx context.Context, c *admin.Client, id string) (string, error) {
	var list []admin.Session
	if err := c.Get(ctx, "/api/v1/sessions", &list); err != nil {
		return "", err
	}
	var found []string
	for _, s := range list {
		if s.ID == id {
			return id, nil
		}
		if strings.HasPrefix(s.ID, id) {
			found = append(found, s.ID)
		}
	}
	switch len(found) {
	case 0:
		return id, nil // the edge says that there is none
	case 1:
		return found[0], nil
	}
	return "", &badUse{fmt.Errorf("%d sessions begin with %s: %s", len(found), id, strings.Join(found, ", "))}
}

func reloadCommand() *cobra.Command {
	f := &steerFlags{}
	c := &cobra.Command{
		Use:     "reload",
		Short:   "Have the running edge read its configuration again",
		Long:    "Put the configuration file in force: all of it or, after any fault, nothing. The faults are printed, and the exit status is 2.",
		Example: "  rtmps-edge reload -c /etc/rtmps-edge/edge.toml",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return ask(cmd, f, "POST", "/api/v1/reload", showDone) },
	}
	f.add(c)
	return c
}

func drainCommand() *cobra.Command {
	f, wait := &steerFlags{}, false
	c := &cobra.Command{
		Use:   "drain",
		Short: "Have the running edge accept nothing more, and exit when its streams have ended",
		Long: `As SIGTERM does: nothing is accepted any more, running streams go on as long as
[limits] drain_timeout allows, then the edge exits. --wait returns when it has.`,
		Example: "  rtmps-edge drain\n  rtmps-edge drain --wait",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return drain(cmd, f, wait) },
	}
	f.add(c)
	c.Flags().BoolVar(&wait, "wait", false, "wait until the edge has exited")
	return c
}

func drain(cmd *cobra.Command, f *steerFlags, wait bool) error {
	if err := ask(cmd, f, "POST", "/api/v1/drain", showDone); err != nil || !wait {
		return err
	}
	c, err := f.client()
	if err != nil {
		return err
	}
	progress := newProgress(cmd.ErrOrStderr())
	err = c.Follow(cmd.Context(), func(s admin.State) bool {
		progress.say(count(len(s.Sessions), "stream") + " left")
		return true
	})
	progress.end()
	if cmd.Context().Err() != nil {
		return err
	}
	return nil // it does not answer any more: it is gone
}

func count(n int, of string) string {
	if n == 1 {
		return "1 " + of
	}
	return fmt.Sprintf("%d %ss", n, of)
}

// progress is one line that changes, on a terminal; elsewhere each new text is a
// line.
type progress struct {
	w    io.Writer
	live bool
	last string
}

func newProgress(w io.Writer) *progress { return &progress{w: w, live: terminal.Is(w)} }

func (p *progress) say(text string) {
	switch {
	case text == p.last:
	case p.live:
		fmt.Fprintf(p.w, "\r\x1b[K%s", text)
	default:
		fmt.Fprintln(p.w, text)
	}
	p.last = text
}

func (p *progress) end() {
	if p.live && p.last != "" {
		fmt.Fprintln(p.w)
	}
}
