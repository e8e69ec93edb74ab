package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/authz"
	"rtmps-edge/config"
	"rtmps-edge/internal/bitrate"
	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

func keyCommand() *cobra.Command {
	c := &cobra.Command{
		Use:     "key",
		Short:   "Keep keys.toml: add, list, remove stream keys",
		Example: "  rtmps-edge key add alice --app live --expires 30d --bitrate 8Mbit\n  rtmps-edge key list\n  rtmps-edge key remove alice",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(keyAddCommand(), keyListCommand(), keyRemoveCommand(), keyHashCommand())
	return c
}

// keysFlags say which keys.toml is meant.
type keysFlags struct{ keys, config string }

func (f *keysFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.keys, "file", "f", "", "keys.toml (default: the one that the configuration names)")
	c.Flags().StringVarP(&f.config, "config", "c", defaultConfigFile, "configuration file")
}

// path returns the file. Without a configuration it is keys.toml here.
func (f *keysFlags) path() string {
	if f.keys != "" {
		return f.keys
	}
	return config.KeysFile(f.config)
}

// newKey are the flags of "key add".
type newKey struct {
	keysFlags
	actions, from                               []string
	app, name, origin, notBefore, expires, rate string
	stdin                                       bool
}

func keyAddCommand() *cobra.Command {
	var n newKey
	c := &cobra.Command{
		Use:   "add SUBJECT",
		Short: "Make a stream key; it is printed once, and only its hash is kept",
		Long: `Make a new stream key for SUBJECT, who is named in logs and metrics in its place.
The key goes to standard output, all else to standard error. A running edge knows it within a second.`,
		Example: "  rtmps-edge key add alice\n  rtmps-edge key add alice --app 'live*' --name alice-cam1 --expires 2027-01-01 --bitrate 8Mbit\n" +
			"  rtmps-edge key add wall --action play\n  rtmps-edge key add bob --stdin < old-key.txt",
		Args: oneArg("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error { return n.run(cmd, args[0]) },
	}
	n.add(c)
	f := c.Flags()
	f.StringSliceVar(&n.actions, "action", []string{"publish"}, "publish, play or both")
	f.StringVar(&n.app, "app", "", "apps, as a glob (default any)")
	f.StringVar(&n.name, "name", "", "stream name at the origin (default SUBJECT)")
	f.StringVar(&n.origin, "origin", "", "origin (default by route)")
	f.StringSliceVar(&n.from, "from", nil, "networks that may use it (default any)")
	f.StringVar(&n.notBefore, "not-before", "", "first moment: 2027-01-01, 2027-01-01T18:00:00Z, or a time from now as 2h")
	f.StringVar(&n.expires, "expires", "", "last moment, likewise, as 30d")
	f.StringVar(&n.rate, "bitrate", "", "limit, as 8Mbit")
	f.BoolVar(&n.stdin, "stdin", false, "take the key from standard input instead of making one")
	return c
}

func (n *newKey) run(cmd *cobra.Command, subject string) error {
	k, err := n.key(subject, time.Now())
	if err != nil {
		return &badUse{err}
	}
	key := authz.GenerateKey()
	if n.stdin {
		if key, err = readKey(cmd.InOrStdin()); err != nil {
			return &badUse{err}
		}
	}
	k.Hash = authz.HashOf(key)
	if err := authz.AddKey(n.path(), k); err != nil {
		return keysError(err)
	}
	return printKey(cmd, n, k, key)
}

// key reads the flags.
func (n *newKey) key(subject string, now time.Time) (authz.Key, error) {
	k := authz.Key{Terms: authz.Terms{Subject: subject, App: n.app, Name: n.name, Origin: n.origin}}
	var errs []error
	note := func(flag string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %w", flag, err))
		}
	}
	for _, a := range n.actions {
		if a != string(authz.Publish) && a != string(authz.Play) {
			note("--action", errors.New("must be publish or play"))
		}
		k.Actions = append(k.Actions, authz.Action(a))
	}
	for _, s := range n.from {
		p, err := authz.ParseNetwork(s)
		note("--from", err)
		k.From = append(k.From, p)
	}
	for flag, at := range map[string]struct {
		text string
		dst  *time.Time
	}{"--not-before": {n.notBefore, &k.NotBefore}, "--expires": {n.expires, &k.Expires}} {
		if at.text == "" {
			continue
		}
		t, err := authz.ParseTime(at.text, now)
		note(flag, err)
		*at.dst = t
	}
	if n.rate != "" {
		var err error
		k.Bitrate, err = bitrate.Parse(n.rate)
		note("--bitrate", err)
	}
	return k, errors.Join(errs...)
}

// printKey shows the key this once.
func printKey(cmd *cobra.Command, n *newKey, k authz.Key, key secret.Text) error {
	app := k.App
	if app == "" || strings.ContainsAny(app, "*?[") {
		app = "live"
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "Added to %s. The stream key of %s, shown only now:\n\n", n.path(), k.Subject)
	if !n.stdin {
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), key.Reveal()); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nOBS: Settings > Stream > Service: Custom, Server: rtmps://YOUR-HOST:1936/%s, Stream Key: the line above.\n", app)
	return nil
}

func keyListCommand() *cobra.Command {
	var f keysFlags
	asJSON := false
	c := &cobra.Command{
		Use:     "list",
		Short:   "Show who has keys and what they may, never the keys",
		Example: "  rtmps-edge key list\n  rtmps-edge key list --json",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			keys, err := authz.ListKeys(f.path())
			if err != nil {
				return keysError(err)
			}
			return listKeys(cmd.OutOrStdout(), keys, asJSON)
		},
	}
	f.add(c)
	c.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return c
}

// shownKey is what a list tells of a key.
type shownKey struct {
	Subject   string         `json:"subject"`
	Actions   []authz.Action `json:"actions"`
	App       string         `json:"app,omitempty"`
	Name      string         `json:"name"`
	Origin    string         `json:"origin,omitempty"`
	From      []string       `json:"from,omitempty"`
	NotBefore *time.Time     `json:"not_before,omitempty"`
	Expires   *time.Time     `json:"expires,omitempty"`
	Bitrate   int64          `json:"bitrate,omitempty"`
	Disabled  bool           `json:"disabled,omitempty"`
}

func showKey(k authz.Key) shownKey {
	s := shownKey{Subject: k.Subject, Actions: k.Actions, App: k.App, Name: k.Name, Origin: k.Origin, Bitrate: k.Bitrate, Disabled: k.Disabled}
	if s.Name == "" {
		s.Name = k.Subject
	}
	for _, p := range k.From {
		s.From = append(s.From, p.String())
	}
	if !k.NotBefore.IsZero() {
		s.NotBefore = &k.NotBefore
	}
	if !k.Expires.IsZero() {
		s.Expires = &k.Expires
	}
	return s
}

func listKeys(w io.Writer, keys []authz.Key, asJSON bool) error {
	shown := []shownKey{}
	for _, k := range keys {
		shown = append(shown, showKey(k))
	}
	if asJSON {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		return e.Encode(shown)
	}
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	fmt.Fprintln(t, "SUBJECT\tMAY\tAPP\tNAME\tEXPIRES\tBITRATE\tSTATE")
	for _, s := range shown {
		fmt.Fprintln(t, strings.Join(s.row(), "\t"))
	}
	return t.Flush()
}

func (s shownKey) row() []string {
	app, expires, rate, state := s.App, "never", "-", "good"
	if app == "" {
		app = "any"
	}
	if s.Expires != nil {
		expires = s.Expires.UTC().Format("2006-01-02 15:04Z")
	}
	if s.Bitrate > 0 {
		rate = bitrate.Format(s.Bitrate)
	}
	now := time.Now()
	switch {
	case s.Disabled:
		state = "disabled"
	case s.Expires != nil && !now.Before(*s.Expires):
		state = "expired"
	case s.NotBefore != nil && now.Before(*s.NotBefore):
		state = "not yet"
	}
	may := make([]string, len(s.Actions))
	for i, a := range s.Actions {
		may[i] = string(a)
	}
	return []string{s.Subject, strings.Join(may, ","), app, s.Name, expires, rate, state}
}

func keyRemoveCommand() *cobra.Command {
	var f keysFlags
	c := &cobra.Command{
		Use:     "remove SUBJECT",
		Short:   "Take all keys of SUBJECT away; a running edge ends their streams",
		Example: "  rtmps-edge key remove alice",
		Args:    oneArg("SUBJECT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			n, err := authz.RemoveKeys(f.path(), func(k authz.Key) bool { return k.Subject == args[0] })
			if err != nil {
				return keysError(err)
			}
			if n == 0 {
				return fmt.Errorf("%s has no key of %q", f.path(), args[0])
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d removed from %s\n", n, f.path())
			return err
		},
	}
	f.add(c)
	return c
}

func keyHashCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "hash",
		Short:   "Read a key from standard input and print its hash, for keys.toml",
		Example: "  rtmps-edge key hash < key.txt",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := readKey(cmd.InOrStdin())
			if err != nil {
				return &badUse{err}
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), authz.HashOf(key).Reveal())
			return err
		},
	}
}

// readKey reads one line: arguments could be seen by everybody on the machine.
func readKey(r io.Reader) (secret.Text, error) {
	if f, ok := r.(*os.File); ok {
		if info, err := f.Stat(); err == nil && info.Mode()&os.ModeCharDevice != 0 {
			fmt.Fprint(os.Stderr, "Stream key (it is shown as you type): ")
		}
	}
	line, err := bufio.NewReader(io.LimitReader(r, authz.MaxKeyLength+3)).ReadString('\n')
	if err != nil && err != io.EOF {
		return secret.Text{}, err
	}
	line = strings.TrimRight(line, "\r\n")
	if line == "" || len(line) > authz.MaxKeyLength || strings.Contains(line, "?") {
		return secret.Text{}, fmt.Errorf("the key on standard input must have 1 to %d bytes and no question mark", authz.MaxKeyLength)
	}
	return secret.New(line), nil
}

// keysError tells faults of a file, for which the user is to blame, from others.
func keysError(err error) error {
	var faults fault.List
	if errors.As(err, &faults) {
		return faults
	}
	return err
}

func oneArg(name string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 1 && args[0] != "" {
			return nil
		}
		return &badUse{fmt.Errorf("%s needs one %s (see %s -h)", cmd.CommandPath(), name, cmd.CommandPath())}
	}
}
