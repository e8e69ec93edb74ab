package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/authz"
	"rtmps-edge/config"
	"rtmps-edge/internal/secret"
)

// schemeFlags say which scheme signs or verifies: one of the configuration's, or
// one that is described here with a file of secrets.
type schemeFlags struct {
	config, scheme, secretFile, baseURL, template string
	play                                          bool
}

func (f *schemeFlags) add(c *cobra.Command) {
	c.Flags().StringVarP(&f.config, "config", "c", defaultConfigFile, "configuration file, for its [[authz.signed]]")
	c.Flags().StringVar(&f.scheme, "scheme", "", strings.Join(authz.Schemes(), ", ")+" (default: the configuration's first)")
	c.Flags().StringVar(&f.secretFile, "secret-file", "", "file of secrets, instead of the configuration")
	c.Flags().StringVar(&f.baseURL, "base-url", "", "with --secret-file, for ome: rtmps://HOST:PORT")
	c.Flags().StringVar(&f.template, "template", "", "with --secret-file, for secure-link: what is hashed")
	c.Flags().BoolVar(&f.play, "play", false, "for playing instead of publishing")
}

func (f *schemeFlags) action() authz.Action {
	if f.play {
		return authz.Play
	}
	return authz.Publish
}

// schemes returns those that are meant, at least one.
func (f *schemeFlags) schemes() (authz.SignedSet, error) {
	if f.secretFile != "" {
		scheme := f.scheme
		if scheme == "" {
			scheme = "hmac"
		}
		s, err := authz.NewSigned(authz.SignedConfig{Scheme: scheme, SecretsFile: f.secretFile, BaseURL: f.baseURL, Template: f.template})
		return authz.SignedSet{s}, err
	}
	cfg, err := config.Load(f.config)
	if err != nil {
		return nil, err
	}
	var set authz.SignedSet
	for _, c := range cfg.Authz.Signed {
		s, err := authz.NewSigned(c)
		if err != nil {
			return nil, err
		}
		set = append(set, s)
	}
	if set = set.For(f.scheme); len(set) == 0 {
		return nil, fmt.Errorf("%s has no such [[authz.signed]]; name a file of secrets with --secret-file instead", f.config)
	}
	return set, nil
}

func signCommand() *cobra.Command {
	var f schemeFlags
	var q authz.SignRequest
	var expires, notBefore, address string
	asJSON := false
	c := &cobra.Command{
		Use:   "sign",
		Short: "Make a stream key that carries its own permission",
		Long: `Make a signed stream key: a stream name and a query that permits it until it expires. Nothing is stored; whoever has
the secret can make keys. The key goes to standard output.`,
		Example: "  rtmps-edge sign --app live --name alice --expires 2h\n" +
			"  rtmps-edge sign --scheme tencent --secret-file signing.secrets --app live --name alice --expires 2027-01-01",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			now := time.Now()
			q.Action = f.action()
			for flag, v := range map[string]struct {
				text string
				dst  *time.Time
			}{"--expires": {expires, &q.Expires}, "--not-before": {notBefore, &q.NotBefore}} {
				if v.text == "" {
					continue
				}
				if *v.dst, err = authz.ParseTime(v.text, now); err != nil {
					return &badUse{fmt.Errorf("%s %w", flag, err)}
				}
			}
			if address != "" {
				if q.Address, err = authz.ParseNetwork(address); err != nil {
					return &badUse{fmt.Errorf("--ip %w", err)}
				}
			}
			return sign(cmd.OutOrStdout(), f, q, asJSON)
		},
	}
	f.add(c)
	c.Flags().StringVar(&q.App, "app", "live", "app")
	c.Flags().StringVar(&q.Name, "name", "", "stream name")
	c.Flags().StringVar(&expires, "expires", "", "last moment: 2h, 30d, 2027-01-01, 2027-01-01T18:00:00Z")
	c.Flags().StringVar(&notBefore, "not-before", "", "first moment, likewise")
	c.Flags().StringVar(&address, "ip", "", "the only address, or network, that may use it")
	addJSON(c, &asJSON)
	return c
}

func sign(w io.Writer, f schemeFlags, q authz.SignRequest, asJSON bool) error {
	set, err := f.schemes()
	if err != nil {
		return &badUse{err}
	}
	i := slices.IndexFunc(set, func(s *authz.Signed) bool { return s.KnowsApp(q.App) })
	if i < 0 {
		return &badUse{fmt.Errorf("no [[authz.signed]] is for the app %q", q.App)}
	}
	key, err := set[i].Sign(q)
	if err != nil {
		return &badUse{err}
	}
	if asJSON {
		return writeJSON(w, map[string]string{"key": key.Reveal()})
	}
	_, err = fmt.Fprintln(w, key.Reveal())
	return err
}

func verifyCommand() *cobra.Command {
	var f schemeFlags
	var app, address string
	asJSON := false
	c := &cobra.Command{
		Use:   "verify",
		Short: "Read a signed stream key from standard input and say why it is good or not",
		Long: `Read a signed stream key, as the encoder has it, from standard input and explain it: what it permits, until when, and
if it is refused, why. Neither the secret nor the right signature is shown. Exit status 0 only if it is good.`,
		Example: "  rtmps-edge verify --app live < key.txt\n  rtmps-edge sign --name alice --expires 2h | rtmps-edge verify",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 1<<12)).ReadString('\n')
			if err != nil && err != io.EOF {
				return err
			}
			key, query, _ := strings.Cut(strings.TrimRight(line, "\r\n"), "?")
			r := authz.Request{Action: f.action(), App: app, Key: secret.New(key), Query: secret.New(query)}
			if address != "" {
				a, err := netip.ParseAddr(address)
				if err != nil {
					return &badUse{errors.New("--ip must be an address")}
				}
				r.Client = netip.AddrPortFrom(a, 0)
			}
			return verify(cmd.OutOrStdout(), f, r, asJSON)
		},
	}
	f.add(c)
	c.Flags().StringVar(&app, "app", "live", "app")
	c.Flags().StringVar(&address, "ip", "", "the address that the client comes from")
	addJSON(c, &asJSON)
	return c
}

// verdict is what "verify" tells as JSON.
type verdict struct {
	Good        bool     `json:"good"`
	Explanation []string `json:"explanation"`
}

func verify(w io.Writer, f schemeFlags, r authz.Request, asJSON bool) error {
	set, err := f.schemes()
	if err != nil {
		return &badUse{err}
	}
	e, err := set.Explain(r)
	if err != nil {
		return &badUse{err}
	}
	if asJSON {
		err = writeJSON(w, verdict{e.Good, e.Lines})
	} else {
		_, err = fmt.Fprintln(w, strings.Join(e.Lines, "\n"))
	}
	if err != nil {
		return err
	}
	if !e.Good {
		return errors.New("the key is refused")
	}
	return nil
}
