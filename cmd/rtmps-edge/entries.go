package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/authz"
	"rtmps-edge/internal/bitrate"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

// fileFlags say which keys.toml or users.toml is meant.
type fileFlags struct {
	kind         string                     // what the file is called
	find         func(config string) string // where a configuration has it
	file, config string
}

func (f *fileFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.file, "file", "f", "", f.kind+" (default: the one that the configuration names)")
	c.Flags().StringVarP(&f.config, "config", "c", defaultConfigFile, "configuration file")
}

// path returns the file. Without a configuration it is the default one, here.
func (f *fileFlags) path() string {
	if f.file != "" {
		return f.file
	}
	return f.find(f.config)
}

// termsFlags are what all entries grant.
type termsFlags struct {
	actions, from                         []string
	app, origin, notBefore, expires, rate string
}

func (t *termsFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.StringSliceVar(&t.actions, "action", []string{"publish"}, "publish, play or both")
	f.StringVar(&t.app, "app", "", "apps, as a glob (default any)")
	f.StringVar(&t.origin, "origin", "", "origin (default by route)")
	f.StringSliceVar(&t.from, "from", nil, "networks that may use it (default any)")
	f.StringVar(&t.notBefore, "not-before", "", "first moment: 2027-01-01, 2027-01-01T18:00:00Z, or a time from now as 2h")
	f.StringVar(&t.expires, "expires", "", "last moment, likewise, as 30d")
	f.StringVar(&t.rate, "bitrate", "", "limit, as 8Mbit")
}

// terms reads the flags; the error names all that are wrong.
func (t *termsFlags) terms(subject, name string, now time.Time) (authz.Terms, error) {
	terms := authz.Terms{Subject: subject, App: t.app, Name: name, Origin: t.origin}
	var errs []error
	note := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %w", flag, err))
		}
	}
	for _, a := range t.actions {
		if a != string(authz.Publish) && a != string(authz.Play) {
			note("--action", errors.New("must be publish or play"))
		}
		terms.Actions = append(terms.Actions, authz.Action(a))
	}
	for _, s := range t.from {
		p, err := authz.ParseNetwork(s)
		note("--from", err)
		terms.From = append(terms.From, p)
	}
	moment := func(flag, text string, dst *time.Time) {
		if text == "" {
			return
		}
		at, err := authz.ParseTime(text, now)
		note(flag, err)
		*dst = at
	}
	moment("--not-before", t.notBefore, &terms.NotBefore)
	moment("--expires", t.expires, &terms.Expires)
	if t.rate != "" {
		var err error
		terms.Bitrate, err = bitrate.Parse(t.rate)
		note("--bitrate", err)
	}
	return terms, errors.Join(errs...)
}

// readSecret reads one line: arguments could be seen by everybody on the machine.
func readSecret(r io.Reader, what string, most int) (secret.Text, error) {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprintf(os.Stderr, "%s (it is shown as you type): ", what)
		}
	}
	line, err := bufio.NewReader(io.LimitReader(r, int64(most)+3)).ReadString('\n')
	if err != nil && err != io.EOF {
		return secret.Text{}, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" || len(line) > most || strings.Contains(line, "?") {
		return secret.Text{}, fmt.Errorf("the %s on standard input must have 1 to %d bytes and no question mark", strings.ToLower(what), most)
	}
	return secret.New(line), nil
}

// entriesError tells faults of a file, for which the user is to blame, from others.
func entriesError(err error) error {
	var faults fault.List
	if errors.As(err, &faults) {
		return faults
	}
	return err
}

// listCommand is "list" of a kind of entries. rows are a table's lines, the first
// of them its head; shown is the same for --json.
func listCommand(parent, short string, f fileFlags, list func(path string) (shown any, rows [][]string, err error)) *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "list",
		Short:   short,
		Example: "  rtmps-edge " + parent + " list\n  rtmps-edge " + parent + " list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			shown, rows, err := list(f.path())
			if err != nil {
				return entriesError(err)
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), shown)
			}
			return writeTable(cmd.OutOrStdout(), rows)
		},
	}
	f.add(c)
	addJSON(c, &asJSON)
	return c
}

// removeCommand is "remove" of a kind of entries. remove tells how many there were.
func removeCommand(parent, arg, short, none string, f fileFlags, remove func(path, name string) (int, error)) *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "remove " + arg,
		Short:   short,
		Example: "  rtmps-edge " + parent + " remove alice",
		Args:    oneArg(arg),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := remove(f.path(), args[0])
			if err != nil {
				return entriesError(err)
			}
			if n == 0 {
				return fmt.Errorf("%s has no %s %q", f.path(), none, args[0])
			}
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), removed{f.path(), n})
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d removed from %s\n", n, f.path())
			return err
		},
	}
	f.add(c)
	addJSON(c, &asJSON)
	return c
}

// removed is what a "remove" tells as JSON.
type removed struct {
	File    string `json:"file"`
	Removed int    `json:"removed"`
}

func writeTable(w io.Writer, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, strings.Join(r, "\t"))
	}
	return t.Flush()
}

func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] != "" {
			return nil
		}
		return &badUse{fmt.Errorf("%s needs one %s (see %s -h)", cmd.CommandPath(), name, cmd.CommandPath())}
	}
}
