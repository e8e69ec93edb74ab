package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/internal/secret"
	"rtmps-edge/rtmp"
)

const (
	// probeTimeout bounds the whole probe: an encoder gives up sooner.
	probeTimeout = 20 * time.Second
	// probeTLSTimeout is for a port that says nothing to a ClientHello.
	probeTLSTimeout = 5 * time.Second
	// expiresSoon is when a certificate's end is worth a word.
	expiresSoon = 14 * 24 * time.Hour
)

// probe plays encoder, one step after the other.
type probe struct {
	target   target
	roots    *x509.CertPool // nil = the system's
	insecure bool
	asJSON   bool
	out      io.Writer
	begin    time.Time // of the step under way
}

// target is a taken apart rtmp(s) URL.
type target struct {
	host, port string
	secure     bool
	app        string
	name       secret.Text
}

func probeCommand() *cobra.Command {
	p := &probe{}
	ca, stdin := "", false
	c := &cobra.Command{
		Use:   "probe URL",
		Short: "Play encoder: say which step fails, from DNS to publish, and what to do",
		Long: `Play encoder toward any RTMP or RTMPS server: DNS, TCP, TLS, RTMP handshake, connect, publish.
Each step is one line with its time. Exit status 0 only if publishing was accepted; the stream is ended at once.
The key is the last part of the URL; with --stdin it is read from standard input, unseen by others on this machine.`,
		Example: "  rtmps-edge probe rtmps://live.example.com:1936/live/KEY\n  rtmps-edge probe --stdin rtmps://live.example.com/live < key.txt\n" +
			"  rtmps-edge probe --ca certs/ca.pem rtmps://localhost:1936/live/KEY",
		Args: oneArg("URL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := p.prepare(args[0], ca, stdin, cmd.InOrStdin()); err != nil {
				return &badUse{err}
			}
			p.out = cmd.OutOrStdout()
			ctx, cancel := context.WithTimeout(cmd.Context(), probeTimeout)
			defer cancel()
			return p.run(ctx)
		},
	}
	c.Flags().StringVar(&ca, "ca", "", "PEM file of the authority to trust, beside those of the system")
	c.Flags().BoolVar(&p.insecure, "insecure", false, "go on with a certificate that is not good")
	c.Flags().BoolVar(&p.asJSON, "json", false, "one JSON object a line")
	c.Flags().BoolVar(&stdin, "stdin", false, "read the key from standard input")
	return c
}

func (p *probe) prepare(rawURL, ca string, stdin bool, in io.Reader) (err error) {
	if p.target, err = parseTarget(rawURL, stdin); err != nil {
		return err
	}
	if stdin {
		line, err := bufio.NewReader(io.LimitReader(in, 1<<10)).ReadString('\n')
		if err != nil && err != io.EOF {
			return err
		}
		p.target.name = secret.New(strings.TrimRight(line, "\r\n"))
	}
	if p.target.name.Empty() {
		return errors.New("the URL has no stream key: rtmps://HOST/APP/KEY")
	}
	if ca == "" {
		return nil
	}
	pem, err := os.ReadFile(ca)
	if err != nil {
		return err
	}
	if p.roots, err = x509.SystemCertPool(); err != nil {
		p.roots = x509.NewCertPool()
	}
	if !p.roots.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s has no certificate in PEM form", ca)
	}
	return nil
}

// parseTarget reads rtmp[s]://host[:port]/app/name. Errors repeat nothing of it:
// there is a key in it.
func parseTarget(s string, withoutName bool) (target, error) {
	usage := errors.New("must be rtmps://HOST[:PORT]/APP/KEY or rtmp://…")
	head, query, hasQuery := strings.Cut(s, "?")
	u, err := url.Parse(head)
	if err != nil || u.Scheme != "rtmp" && u.Scheme != "rtmps" || u.Hostname() == "" {
		return target{}, usage
	}
	t := target{host: u.Hostname(), port: u.Port(), secure: u.Scheme == "rtmps"}
	if t.port == "" {
		t.port = map[bool]string{false: "1935", true: "443"}[t.secure]
	}
	path := strings.Trim(u.EscapedPath(), "/")
	if withoutName {
		t.app = path
		return t, nil
	}
	i := strings.LastIndexByte(path, '/')
	if i < 0 {
		return target{}, usage
	}
	name := path[i+1:]
	if hasQuery {
		name += "?" + query
	}
	t.app, t.name = path[:i], secret.New(name)
	return t, nil
}

// failure is a step that failed, and what to do about it.
type failure struct {
	err  error
	cure string
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

var errProbe = errors.New("publishing was not accepted")

// run goes through the steps up to the first that fails.
func (p *probe) run(ctx context.Context) error {
	raw, err := p.connect(ctx)
	if err != nil {
		return errProbe
	}
	defer func() { _ = raw.Close() }()
	deadline, _ := ctx.Deadline()
	_ = raw.SetDeadline(deadline)
	conn := raw
	if p.target.secure {
		if conn, err = p.secure(ctx, raw); err != nil {
			return errProbe
		}
	}
	if p.publish(conn) != nil {
		return errProbe
	}
	return nil
}

// step ends a step: one line, and the cure if it failed.
func (p *probe) step(name, detail string, err error) error {
	took := time.Since(p.begin)
	p.begin = time.Now()
	cure := ""
	var f *failure
	if errors.As(err, &f) {
		cure = f.cure
	}
	if err != nil {
		detail = err.Error()
	}
	if p.asJSON {
		_ = json.NewEncoder(p.out).Encode(map[string]any{"step": name, "ok": err == nil, "detail": detail, "cure": cure,
			"milliseconds": float64(took.Microseconds()) / 1000})
		return err
	}
	mark := "ok  "
	if err != nil {
		mark = "FAIL"
	}
	fmt.Fprintf(p.out, "%s  %-12s %7.1f ms  %s\n", mark, name, float64(took.Microseconds())/1000, detail)
	if cure != "" {
		fmt.Fprintf(p.out, "      %s\n", cure)
	}
	return err
}

func (p *probe) connect(ctx context.Context) (net.Conn, error) {
	p.begin = time.Now()
	addrs, err := net.DefaultResolver.LookupHost(ctx, p.target.host)
	if err != nil {
		err = &failure{err, "Is the host name right? Ask its operator, or try \"dig " + p.target.host + "\"."}
	}
	if p.step("DNS", strings.Join(addrs, " "), err) != nil {
		return nil, err
	}
	var conn net.Conn
	var d net.Dialer
	for _, a := range addrs {
		if conn, err = d.DialContext(ctx, "tcp", net.JoinHostPort(a, p.target.port)); err == nil {
			break
		}
	}
	detail := ""
	switch {
	case err == nil:
		detail = conn.RemoteAddr().String()
	case errors.Is(err, syscall.ECONNREFUSED):
		err = &failure{err, "Nothing listens on port " + p.target.port + ": is the server running, and is this its port?"}
	default:
		err = &failure{err, "No way to port " + p.target.port + ": look at firewalls on both sides (443 is open most often)."}
	}
	return conn, p.step("TCP", detail, err)
}

func (p *probe) secure(ctx context.Context, raw net.Conn) (net.Conn, error) {
	c := tls.Client(raw, &tls.Config{ServerName: p.target.host, InsecureSkipVerify: true, MinVersion: tls.VersionTLS10}) // the chain is judged below, with words
	hurry, cancel := context.WithTimeout(ctx, probeTLSTimeout)
	defer cancel()
	err := c.HandshakeContext(hurry)
	detail := ""
	if err == nil {
		s := c.ConnectionState()
		detail = fmt.Sprintf("%s, %s", tls.VersionName(s.Version), tls.CipherSuiteName(s.CipherSuite))
	} else {
		err = &failure{err, tlsCure(err)}
	}
	if p.step("TLS", detail, err) != nil {
		return nil, err
	}
	detail, err = judgeChain(c.ConnectionState().PeerCertificates, p.target.host, p.roots, time.Now())
	if err != nil && p.insecure {
		detail, err = "not good, and taken nevertheless: "+err.Error(), nil
	}
	return c, p.step("chain", detail, err)
}

func tlsCure(err error) string {
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &header), errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "The server does not speak TLS on this port: use rtmp:// for it, or the port of its RTMPS listener."
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "The server hung up: it may not speak TLS on this port, or refuse this address (limits, bans, deny_from)."
	}
	return "The server and this program share no version or suite of TLS: see [tls] profile of the edge."
}

// judgeChain says what an encoder makes of a server's certificates.
func judgeChain(chain []*x509.Certificate, host string, roots *x509.CertPool, now time.Time) (detail string, err error) {
	leaf := chain[0]
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	_, err = leaf.Verify(x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: pool, CurrentTime: now})
	var name x509.HostnameError
	var unknown x509.UnknownAuthorityError
	var invalid x509.CertificateInvalidError
	days := int(leaf.NotAfter.Sub(now).Hours() / 24)
	switch {
	case err == nil && leaf.NotAfter.Sub(now) < expiresSoon:
		return fmt.Sprintf("good, but for %d days only: is it renewed by itself?", days), nil
	case err == nil:
		return fmt.Sprintf("good for %s, %d days left", host, days), nil
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired && now.Before(leaf.NotBefore):
		return "", &failure{err, "The certificate is not valid yet: look at the clocks of both machines."}
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return "", &failure{err, "The certificate, or one of its chain, has expired: renew it."}
	case errors.As(err, &name):
		return "", &failure{err, "The certificate is for other names: use one of them as server, or get a certificate for this one."}
	case errors.As(err, &unknown) && len(chain) == 1 && string(leaf.RawIssuer) != string(leaf.RawSubject):
		return "", &failure{err, "Only the leaf was sent. If its authority is a public one, the chain is incomplete: send the whole chain (fullchain.pem). " +
			"If it is a private one, encoders have to trust it: --ca FILE here."}
	case errors.As(err, &unknown):
		return "", &failure{err, "Encoders do not know the authority: let them trust it (try --ca FILE here), or get a public certificate."}
	}
	return "", &failure{err, "See what rtmps-edge check says of the certificate."}
}

// publish leads the RTMP dialogue and ends the stream at once.
func (p *probe) publish(conn net.Conn) error {
	scheme := map[bool]string{false: "rtmp", true: "rtmps"}[p.target.secure]
	last := "handshake"
	c, err := rtmp.Open(conn, rtmp.Target{
		Action: rtmp.Publish, App: p.target.app, Name: p.target.name.Reveal(),
		TcURL: scheme + "://" + net.JoinHostPort(p.target.host, p.target.port) + "/" + p.target.app,
		Trace: func(step string) {
			_ = p.step(last, "", nil)
			last = step
		},
	}, rtmp.Limits{})
	if err != nil {
		return p.step(last, "", &failure{err, rtmpCure(last, err)})
	}
	defer c.Release()
	_ = p.step(last, "accepted", nil)
	return c.Finish()
}

// rtmpCure says what to do, by what the server said.
func rtmpCure(step string, err error) string {
	var said *rtmp.StatusError
	var breach *rtmp.ProtocolError
	switch {
	case errors.As(err, &said):
		return statusCure(said)
	case errors.As(err, &breach):
		return "What answers there is not an RTMP server, or not a good one."
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "No answer in time: is the server overloaded, or its backend slow?"
	case step == "handshake":
		return "The server hung up before RTMP began: TLS on a plain port or the other way round, or a limit."
	case step == "connect":
		return "The server hung up after connect: nginx-rtmp does that when it has no such application."
	}
	return "The server hung up instead of accepting the stream: nginx-rtmp and SRS do that when on_publish refuses the key."
}

func statusCure(said *rtmp.StatusError) string {
	words := ""
	if said.Description != "" {
		words = fmt.Sprintf("The server says: %q ", clip(said.Description))
	}
	switch said.Code {
	case "NetStream.Publish.Denied", "NetStream.Publish.Unauthorized":
		return words + "The stream key is wrong, expired, or not for this application: compare it with rtmps-edge key list."
	case "NetStream.Publish.BadName":
		return words + "Somebody else is publishing under this key."
	case "NetStream.Publish.Rejected":
		return words + "A limit was reached: streams, bit rate or time."
	case "NetConnection.Connect.InvalidApp":
		return words + "There is no such application: look at the part between host and key."
	case "NetStream.Failed":
		return words + "The edge is well, but the RTMP server behind it is not: run rtmps-edge check there."
	case "NetConnection.Connect.Rejected":
		return words + "The server wants a user and a password, or does not take this application."
	}
	return words
}
