package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/cmd/rtmps-edge/internal/probe"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/terminal"
)

const (
	// maxProbeKey is the longest stream key, in bytes: what the protocol's
	// servers take at most.
	maxProbeKey = 1 << 10
	// maxProbePEM is the largest file of certificates, in bytes: that of a whole
	// system's authorities is a quarter of it.
	maxProbePEM = 1 << 20
)

// probeFlags are the command line of "probe".
type probeFlags struct {
	ca, cert, key           string
	insecure, asJSON, stdin bool
	timeout                 time.Duration
}

func probeCommand() *cobra.Command {
	var f probeFlags
	c := &cobra.Command{
		Use:   "probe URL",
		Short: "Play encoder: say which step fails, from DNS to publish, and what to do",
		Long: `Play encoder toward any RTMP or RTMPS server: DNS, TCP, TLS, certificate, RTMP handshake, connect, publish. Each step is
one line with its time; a step that fails is followed by what to do about it. Exit status 0 only if publishing was accepted and
lasted a second; the stream is then ended. What is published is empty, but it is published: where duplicate = "takeover", it
ends the stream that runs under the same key.

The key is the last part of the URL. With --stdin it is read from standard input, unseen by others on this machine, and the URL
is what OBS calls Server. The key is never printed, not even where the server repeats it. A user and a password before the host
(rtmps://USER:PASSWORD@HOST/APP/KEY) are for servers that ask for a login, as with "Use authentication" in OBS.`,
		Example: "  rtmps-edge probe rtmps://live.example.com:1936/live/KEY\n  rtmps-edge probe --stdin rtmps://live.example.com/live < key.txt\n" +
			"  rtmps-edge probe --ca certs/ca.pem rtmps://localhost:1936/live/KEY\n  rtmps-edge probe --json rtmp://192.0.2.1/live/KEY | jq .failures",
		Args: oneArg("URL"),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd, args[0]) },
	}
	c.Flags().StringVar(&f.ca, "ca", "", "PEM file of an authority to trust, beside those of the system")
	c.Flags().StringVar(&f.cert, "client-cert", "", "PEM file of a client certificate, for servers that ask for one")
	c.Flags().StringVar(&f.key, "client-key", "", "PEM file of its private key")
	c.Flags().BoolVar(&f.insecure, "insecure", false, "go on with a certificate that is not good")
	c.Flags().BoolVar(&f.asJSON, "json", false, "one JSON object a line")
	c.Flags().BoolVar(&f.stdin, "stdin", false, "read the stream key from standard input")
	c.Flags().DurationVar(&f.timeout, "timeout", probe.DefaultTimeout, "for all of it")
	return c
}

func (f *probeFlags) run(cmd *cobra.Command, url string) error {
	c, err := f.config(url, cmd.InOrStdin())
	if err != nil {
		return &badUse{err}
	}
	out := cmd.OutOrStdout()
	c.Heard = func(s probe.Step) { showStep(out, terminal.Colours(out), s) }
	if f.asJSON {
		c.Heard = func(s probe.Step) { _ = json.NewEncoder(out).Encode(s) }
	}
	if !probe.Run(cmd.Context(), c) {
		return errors.New("publishing was not accepted")
	}
	return nil
}

func (f *probeFlags) config(url string, in io.Reader) (c probe.Config, err error) {
	if f.timeout <= 0 {
		return c, errors.New("--timeout must be above 0")
	}
	c = probe.Config{Insecure: f.insecure, Timeout: f.timeout}
	if c.Target, err = f.target(url, in); err != nil {
		return c, err
	}
	if f.ca != "" {
		if c.Roots, err = authorities(f.ca); err != nil {
			return c, err
		}
	}
	if f.cert != "" || f.key != "" {
		pair, err := tls.LoadX509KeyPair(f.cert, f.key)
		if err != nil {
			return c, fmt.Errorf("--client-cert and --client-key: %w", err)
		}
		c.Certificate = &pair
	}
	return c, nil
}

func (f *probeFlags) target(url string, in io.Reader) (probe.Target, error) {
	if !f.stdin {
		return probe.ParseURL(url)
	}
	line, err := bufio.NewReader(io.LimitReader(in, maxProbeKey+2)).ReadString('\n')
	if err != nil && err != io.EOF {
		return probe.Target{}, err
	}
	return probe.ParseServer(url, strings.TrimRight(line, "\r\n"))
}

// authorities are those of this system and those in a file.
func authorities(file string) (*x509.CertPool, error) {
	pem, err := readfile.Read(file, maxProbePEM)
	if err != nil {
		return nil, fmt.Errorf("--ca: %w", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--ca: %s has no certificate in PEM form", file)
	}
	return roots, nil
}

// showStep prints a step, and under it what to do.
func showStep(w io.Writer, p terminal.Palette, s probe.Step) {
	mark := p.Good("ok  ")
	switch {
	case !s.OK:
		mark = p.Bad("FAIL")
	case len(s.Warnings) > 0:
		mark = p.Doubtful("warn")
	}
	findings, detail := append(s.Failures, s.Warnings...), s.Detail
	if detail == "" && len(findings) > 0 {
		detail = findings[0].Text
	}
	line := fmt.Sprintf("%s  %-12s  %s  %s", mark, s.Name, p.Faint(fmt.Sprintf("%7.1f ms", s.Milliseconds)), detail)
	fmt.Fprintln(w, strings.TrimRight(line, " "))
	for _, f := range findings {
		if f.Text != detail {
			fmt.Fprintf(w, "      %s\n", f.Text)
		}
		fmt.Fprintf(w, "      %s %s\n", p.Strong("→"), f.Cure)
	}
}
