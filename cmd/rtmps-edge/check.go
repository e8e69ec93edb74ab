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
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/tlsconf"
)

func checkCommand() *cobra.Command {
	file := defaultConfigFile
	c := &cobra.Command{
		Use:   "check",
		Short: "Find every fault of the configuration, the certificates and the origins",
		Long: `Read the configuration and all files that it names, look at the certificates, and
ask every origin server for an RTMP handshake. Nothing is opened and nothing is changed.
Exit status 2 if there is a fault.`,
		Example: "  rtmps-edge check -c /etc/rtmps-edge/edge.toml",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return check(cmd, file) },
	}
	c.Flags().StringVarP(&file, "config", "c", defaultConfigFile, "configuration file")
	return c
}

func check(cmd *cobra.Command, file string) error {
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
	w := cmd.OutOrStdout()
	fmt.Fprintf(w, "ok     %s\n", file)
	for _, text := range p.tooMuch() {
		fmt.Fprintf(w, "warn   %s\n", text)
	}
	faults := checkCertificates(w, cfg, p) + checkDomains(cmd.Context(), w, acmeDomains(cfg)) + checkOrigins(cmd.Context(), w, cfg) + checkRedis(cmd.Context(), w, cfg)
	switch {
	case faults == 1:
		return &badUse{errors.New("1 fault")}
	case faults > 1:
		return &badUse{fmt.Errorf("%d faults", faults)}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// checkCertificates prints each certificate with what is wrong with it.
func checkCertificates(w io.Writer, cfg *config.Config, p *parts) (faults int) {
	if p.source == nil {
		return 0
	}
	findings := lint(cfg, p.source.it)
	for _, c := range certificates(p.source.it) {
		if !slices.ContainsFunc(findings, func(f finding) bool { return f.Certificate == c.Name }) {
			fmt.Fprintf(w, "ok     certificate %s, %d days left\n", c.Name, int(time.Until(c.NotAfter).Hours()/24))
		}
	}
	for _, f := range findings {
		mark := "warn  "
		if f.Severity == tlsconf.Bad {
			mark = "FAULT "
			faults++
		}
		fmt.Fprintf(w, "%s %s\n", mark, f.at)
	}
	return faults
}

// dnsTimeout is for a name server that does not answer.
const dnsTimeout = 5 * time.Second

// checkDomains looks up the names that an ACME authority will look for.
func checkDomains(ctx context.Context, w io.Writer, domains []string) (faults int) {
	ctx, cancel := context.WithTimeout(ctx, dnsTimeout)
	defer cancel()
	for _, d := range domains {
		addresses, err := net.DefaultResolver.LookupHost(ctx, d)
		if err != nil {
			faults++
			fmt.Fprintf(w, "FAULT  domain %s: %v\n       Its A or AAAA record must name this machine: the authority looks for it there.\n", d, err)
			continue
		}
		fmt.Fprintf(w, "ok     domain %s is at %s; the authority must reach port 443 there, or 80 for http_address\n", d, strings.Join(addresses, ", "))
	}
	return faults
}

// checkOrigins asks all servers at once and prints them in their order.
func checkOrigins(ctx context.Context, w io.Writer, cfg *config.Config) (faults int) {
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
			faults++
			fmt.Fprintf(w, "FAULT  origin %s, server %s: %v\n       Is the RTMP server running, and is this its address as seen from here?\n", a.origin.Name, a.server, a.err)
			continue
		}
		fmt.Fprintf(w, "ok     origin %s, server %s answers RTMP (%d ms)\n", a.origin.Name, a.server, a.took.Milliseconds())
	}
	return faults
}

// checkRedis asks what the edges of a cluster share.
func checkRedis(ctx context.Context, w io.Writer, cfg *config.Config) (faults int) {
	if cfg.Redis.Empty() {
		return 0
	}
	begin := time.Now()
	if err := ratelimit.PingRedis(ctx, cfg.Redis); err != nil {
		fmt.Fprintf(w, "FAULT  redis: %v\n       Is the Redis server running, and is this its address as seen from here?\n", err)
		return 1
	}
	fmt.Fprintf(w, "ok     redis answers (%d ms)\n", time.Since(begin).Milliseconds())
	return 0
}
