package main

import (
	"cmp"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/authz"
	"rtmps-edge/config"
	"rtmps-edge/internal/bitrate"
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

// newKey are the flags of "key add".
type newKey struct {
	fileFlags
	termsFlags
	name   string
	stdin  bool
	asJSON bool
}

func keysFlags() fileFlags { return fileFlags{kind: "keys.toml", find: config.KeysFile} }

func keyAddCommand() *cobra.Command {
	n := newKey{fileFlags: keysFlags()}
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
	n.fileFlags.add(c)
	n.termsFlags.add(c)
	f := c.Flags()
	f.StringVar(&n.name, "name", "", "stream name at the origin (default SUBJECT)")
	f.BoolVar(&n.stdin, "stdin", false, "take the key from standard input instead of making one")
	addJSON(c, &n.asJSON)
	return c
}

func (n *newKey) run(cmd *cobra.Command, subject string) error {
	terms, err := n.terms(subject, n.name, time.Now())
	if err != nil {
		return &badUse{err}
	}
	key := authz.GenerateKey()
	if n.stdin {
		if key, err = readSecret(cmd.InOrStdin(), "Stream key", authz.MaxKeyLength); err != nil {
			return &badUse{err}
		}
	}
	k := authz.Key{Terms: terms, Hash: authz.HashOf(key)}
	if err := authz.AddKey(n.path(), k); err != nil {
		return entriesError(err)
	}
	return printKey(cmd, n, k, key)
}

// added is what "key add" and "user add" tell as JSON. The key or the password
// is there if it was made here, this once.
type added struct {
	File string `json:"file"`
	User string `json:"user,omitempty"`
	shownTerms
	Names    []string `json:"names,omitempty"`
	Key      string   `json:"key,omitempty"`
	Password string   `json:"password,omitempty"`
}

// printKey shows the key this once.
func printKey(cmd *cobra.Command, n *newKey, k authz.Key, key secret.Text) error {
	if n.asJSON {
		a := added{File: n.path(), shownTerms: showTerms(k.Terms)}
		if !n.stdin {
			a.Key = key.Reveal()
		}
		return writeJSON(cmd.OutOrStdout(), a)
	}
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
	fmt.Fprintf(w, "\nOBS: Settings > Stream > Service: Custom, Server: %s/%s, Stream Key: the line above.\n", serverOf(config.ListenersOf(n.config)), app)
	return nil
}

// unknownHost stands where nobody has said by what name encoders reach the edge.
const unknownHost = "YOUR-HOST"

// serverOf is what encoders connect to: the first port with TLS, or else the
// first one.
func serverOf(list []config.Listener) string {
	plain := ""
	for _, l := range list {
		host, port, err := net.SplitHostPort(l.Address)
		if err != nil || port == "0" || strings.HasPrefix(l.Address, config.UnixPrefix) || strings.HasPrefix(l.Address, config.SystemdPrefix) {
			continue // a port that only the machine knows
		}
		at := net.JoinHostPort(publicHost(l.Address, host), port)
		if l.TLS != config.TLSOff {
			return "rtmps://" + at
		}
		if plain == "" {
			plain = "rtmp://" + at
		}
	}
	switch {
	case plain != "":
		return plain
	case len(list) == 0: // no configuration, or one that says nothing of it
		return "rtmps://" + unknownHost + config.DefaultAddress
	}
	return "rtmps://" + unknownHost + ":PORT"
}

// publicHost is the host of an address if encoders elsewhere can know it by that.
func publicHost(address, host string) string {
	if ip, err := netip.ParseAddr(host); err == nil && ip.IsGlobalUnicast() && !ip.IsPrivate() {
		return host
	}
	return cmp.Or(config.HostOf(address), unknownHost)
}

func keyListCommand() *cobra.Command {
	return listCommand("key", "Show who has keys and what they may, never the keys", keysFlags(), func(path string) (any, [][]string, error) {
		keys, err := authz.ListKeys(path)
		shown, rows := []shownTerms{}, [][]string{termsHead}
		for _, k := range keys {
			s := showTerms(k.Terms)
			shown, rows = append(shown, s), append(rows, s.row())
		}
		return shown, rows, err
	})
}

// termsHead is over the rows of a list.
var termsHead = []string{"SUBJECT", "MAY", "APP", "NAME", "EXPIRES", "BITRATE", "STATE"}

// shownTerms is what a list tells of an entry.
type shownTerms struct {
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

func showTerms(k authz.Terms) shownTerms {
	s := shownTerms{Subject: k.Subject, Actions: k.Actions, App: k.App, Name: k.Name, Origin: k.Origin, Bitrate: k.Bitrate, Disabled: k.Disabled}
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

func (s shownTerms) row() []string {
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
	return removeCommand("key", "SUBJECT", "Take all keys of SUBJECT away; a running edge ends their streams", "key of", keysFlags(),
		func(path, subject string) (int, error) {
			return authz.RemoveKeys(path, func(k authz.Key) bool { return k.Subject == subject })
		})
}

func keyHashCommand() *cobra.Command {
	asJSON := false
	c := &cobra.Command{
		Use:     "hash",
		Short:   "Read a key from standard input and print its hash, for keys.toml",
		Example: "  rtmps-edge key hash < key.txt",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := readSecret(cmd.InOrStdin(), "Stream key", authz.MaxKeyLength)
			if err != nil {
				return &badUse{err}
			}
			hash := authz.HashOf(key).Reveal()
			if asJSON {
				return writeJSON(cmd.OutOrStdout(), map[string]string{"hash": hash})
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), hash)
			return err
		},
	}
	addJSON(c, &asJSON)
	return c
}
