package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"rtmps-edge/config"
	"rtmps-edge/internal/terminal"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/tlsconf"
)

func checkCommand() *cobra.Command {
	file, asJSON := defaultConfigFile, false
	c := &cobra.Command{
		Use:   "check",
		Short: "Find every fault of the configuration, the certificates and the origins",
		Long: `Read the configuration and all files that it names, look at the certificates, and
ask every origin server for an RTMP handshake. Nothing is opened and nothing is changed.
Exit status 2 if there is a fault.`,
		Example: "  rtmps-edge check -c /etc/rtmps-edge/edge.toml\n  rtmps-edge check --json | jq '.findings[] | select(.result != \"ok\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if asJSON {
				return checkJSON(cmd, file)
			}
			return check(cmd, file, printChecked(cmd.OutOrStdout()))
		},
	}
	c.Flags().StringVarP(&file, "config", "c", defaultConfigFile, "configuration file")
	addJSON(c, &asJSON)
	return c
}

// checked is one thing that was looked at.
type checked struct {
	Result string `json:"result"` // ok, warn or fault
	Text   string `json:"text"`
	Cure   string `json:"cure,omitempty"`
}

// Results of a check.
const (
	checkOK    = "ok"
	checkWarn  = "warn"
	checkFault = "fault"
)

// printChecked prints what was looked at, as soon as it was.
func printChecked(w io.Writer) func(checked) {
	p := terminal.Colours(w)
	marks := map[string]string{checkOK: p.Good("ok") + "    ", checkWarn: p.Doubtful("warn") + "  ", checkFault: p.Bad("FAULT") + " "}
	return func(c checked) {
		fmt.Fprintf(w, "%s %s\n", marks[c.Result], c.Text)
		if c.Cure != "" {
			fmt.Fprintf(w, "       %s\n", c.Cure)
		}
	}
}

// checkJSON prints all at once. Faults of the file itself are among the findings.
func checkJSON(cmd *cobra.Command, file string) error {
	report := struct {
		File     string    `json:"file"`
		OK       bool      `json:"ok"`
		Findings []checked `json:"findings"`
	}{File: file, Findings: []checked{}}
	err := check(cmd, file, func(c checked) { report.Findings = append(report.Findings, c) })
	report.OK = err == nil
	if len(report.Findings) == 0 && err != nil { // it did not come so far
		for line := range strings.Lines(err.Error()) {
			report.Findings = append(report.Findings, checked{Result: checkFault, Text: strings.TrimSpace(line)})
		}
	}
	return errors.Join(err, writeJSON(cmd.OutOrStdout(), report))
}

// check tells found of all that it looks at. The error is of faults.
func check(cmd *cobra.Command, file string, found func(checked)) error {
	cfg, err := config.Load(file)
	if err != nil {
		return &badUse{err}
	}
	log := logrus.New()
	log.SetOutput(cmd.ErrOrStderr())
	setLog(log, config.Log{Level: logrus.ErrorLevel})
	if cfg.TLS.Source == config.SourceSelfSigned && !exists(filepath.Join(cfg.TLS.SelfSignedDir, "ca.pem")) {
		cfg.TLS.SelfSignedDir = "" // made by the first start, not by a check
	}
	p, err := build(cfg, nil, log, nil)
	if err != nil {
		return &badUse{err}
	}
	faults := 0
	note := func(result, cure, format string, args ...any) {
		if result == checkFault {
			faults++
		}
		found(checked{result, fmt.Sprintf(format, args...), cure})
	}
	note(checkOK, "", "%s", file)
	for _, text := range p.tooMuch() {
		note(checkWarn, "", "%s", text)
	}
	checkCertificates(note, cfg, p)
	checkDomains(cmd.Context(), note, acmeDomains(cfg))
	checkOrigins(cmd.Context(), note, cfg)
	checkRedis(cmd.Context(), note, cfg)
	if faults > 0 {
		return &badUse{errors.New(count(faults, "fault"))}
	}
	return nil
}

// noter hears of one thing that was looked at, and what to do about it.
type noter func(result, cure, format string, args ...any)

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkCertificates tells of each certificate, with what is wrong with it.
func checkCertificates(note noter, cfg *config.Config, p *parts) {
	if p.source == nil {
		return
	}
	findings := lint(cfg, p.source.it)
	for _, c := range certificates(p.source.it) {
		if !slices.ContainsFunc(findings, func(f finding) bool { return f.Certificate == c.Name }) {
			note(checkOK, "", "certificate %s, %d days left", c.Name, int(time.Until(c.NotAfter).Hours()/24))
		}
	}
	for _, f := range findings {
		result := checkWarn
		if f.Severity == tlsconf.Bad {
			result = checkFault
		}
		note(result, "", "%s", f.at)
	}
}

// dnsTimeout is for a name server that does not answer.
const dnsTimeout = 5 * time.Second

// checkDomains looks up the names that an ACME authority will look for.
func checkDomains(ctx context.Context, note noter, domains []string) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	for _, d := range domains {
		addresses, err := net.DefaultResolver.LookupHost(ctx, d)
		if err != nil {
			note(checkFault, "Its A or AAAA record must name this machine: the authority looks for it there.", "domain %s: %v", d, err)
			continue
		}
		note(checkOK, "", "domain %s is at %s; the authority must reach port 443 there, or 80 for http_address", d, strings.Join(addresses, ", "))
	}
}

// checkOrigins asks all servers at once and tells of them in their order.
func checkOrigins(ctx context.Context, note noter, cfg *config.Config) {
	type answer struct {
		origin *proxy.Origin
		server string
		took   time.Duration
		err    error
	}
	var answers []*answer
	var asking sync.WaitGroup
	for _, o := range cfg.Origins {
		for _, server := range o.Servers {
			a := &answer{origin: o, server: server}
			answers = append(answers, a)
			asking.Go(func() {
				begin := time.Now()
				a.err = o.Check(ctx, server)
				a.took = time.Since(begin)
			})
		}
	}
	asking.Wait()
	for _, a := range answers {
		if a.err != nil {
			note(checkFault, "Is the RTMP server running, and is this its address as seen from here?", "origin %s, server %s: %v", a.origin.Name, a.server, a.err)
			continue
		}
		note(checkOK, "", "origin %s, server %s answers RTMP (%d ms)", a.origin.Name, a.server, a.took.Milliseconds())
	}
}

// checkRedis asks what the edges of a cluster share.
func checkRedis(ctx context.Context, note noter, cfg *config.Config) {
	if cfg.Redis.Empty() {
		return
	}
	begin := time.Now()
	if err := ratelimit.PingRedis(ctx, cfg.Redis); err != nil {
		note(checkFault, "Is the Redis server running, and is this its address as seen from here?", "redis: %v", err)
		return
	}
	note(checkOK, "", "redis answers (%d ms)", time.Since(begin).Milliseconds())
}
