package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"rtmps-edge/admin"
	"rtmps-edge/authz"
	"rtmps-edge/cmd/rtmps-edge/internal/liveorigin"
	"rtmps-edge/config"
	"rtmps-edge/internal/secret"
	"rtmps-edge/metrics"
	"rtmps-edge/proxy"
	"rtmps-edge/tlsconf"
)

// demoAddress is where the demo listens: on this machine only.
const demoAddress = "127.0.0.1:1936"

// demoName is what the demo's stream is called at its origin, and by players.
const demoName = "demo"

func demoCommand() *cobra.Command {
	address := demoAddress
	c := &cobra.Command{
		Use:     "demo",
		Short:   "Run the whole thing with nothing to install, and print what to paste into OBS",
		Example: "  rtmps-edge demo\n  rtmps-edge demo --listen 127.0.0.1:0",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
			defer stop()
			return demo(ctx, cmd.OutOrStdout(), cmd.ErrOrStderr(), address)
		},
	}
	c.Flags().StringVar(&address, "listen", demoAddress, "address to listen on, with a port; 0 takes any free one")
	return c
}

// demo runs an origin and an edge in front of it until ctx is done.
func demo(ctx context.Context, out, logs io.Writer, address string) error {
	origin, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer func() { _ = origin.Close() }()
	go new(liveorigin.Server).Serve(origin)

	ln, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("%w (choose another with --listen 127.0.0.1:0)", err)
	}
	log := logrus.New()
	log.SetOutput(logs)
	setLog(log, config.Log{Level: logrus.InfoLevel})
	source, dir, err := demoCertificate(log)
	if err != nil {
		return err
	}
	key := authz.GenerateKey()
	seen := &demoAdmin{drain: make(chan struct{}, 1), source: source, log: log}
	srv, dashboard, err := seen.start(ctx, demoPolicy(source, key, origin.Addr().String()))
	if err != nil {
		return err
	}
	printDemo(out, ln.Addr().String(), dashboard, key, dir)
	ended := make(chan error, 1)
	go func() { ended <- srv.Serve(ln, proxy.ListenerConfig{Address: address, TLS: true}) }()
	select {
	case <-ctx.Done():
	case <-seen.drain:
	case err = <-ended:
	}
	now, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = srv.Shutdown(now)
	seen.stop()
	return err
}

// demoAdmin is the admin address of the demo.
type demoAdmin struct {
	source tlsconf.Source
	log    *logrus.Logger
	drain  chan struct{}
	stop   func()
}

// start serves the dashboard, at the usual address or, where that is taken, at any.
func (d *demoAdmin) start(ctx context.Context, policy *proxy.Policy) (srv *proxy.Server, dashboard string, err error) {
	ln, err := net.Listen("tcp", admin.DefaultListen)
	if err != nil {
		ln, err = net.Listen("tcp", "127.0.0.1:0")
	}
	if err != nil {
		return nil, "", err
	}
	m := metrics.New(metrics.Version{Version: version, Commit: commit(), Go: runtime.Version()})
	a := admin.New(admin.Config{
		Version: admin.Version{Version: version, Commit: commit()}, Metrics: m.Handler(), Log: d.log,
		Certificates: func() []admin.Certificate { return certificatesOf(d.source) },
		Reload:       func(context.Context) error { return errors.New("the demo has no configuration file") },
		Drain: func() {
			select {
			case d.drain <- struct{}{}:
			default: // it was asked already
			}
		},
	})
	srv = proxy.NewServer(proxy.ServerConfig{Policy: policy, Observer: observers{newLogObserver(d.log), m, a}, Log: d.log})
	a.Attach(srv)
	m.Pull(metrics.Source{Server: srv, Certificates: func() map[string]time.Time { return expiries(certificatesOf(d.source), nil) }})
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	served := make(chan error, 1)
	go func() { served <- a.Serve(ctx, ln) }()
	d.stop = func() { cancel(); <-served }
	return srv, "http://" + ln.Addr().String() + "/", nil
}

// demoCertificate keeps the certificate from run to run, where the user has a
// place for such files: OBS has to be told to trust it only once.
func demoCertificate(log *logrus.Logger) (source tlsconf.Source, dir string, err error) {
	if cache, err := os.UserCacheDir(); err == nil {
		dir = filepath.Join(cache, "rtmps-edge", "demo")
	}
	c := tlsconf.SelfSignedConfig{Options: tlsconf.Options{Log: log}, Dir: dir}
	source, err = tlsconf.NewSelfSigned(c)
	if err != nil && dir != "" {
		c.Dir, dir = "", ""
		source, err = tlsconf.NewSelfSigned(c)
	}
	return source, dir, err
}

// demoPolicy is the configuration's defaults, with one key and open play.
func demoPolicy(source tlsconf.Source, key secret.Text, origin string) *proxy.Policy {
	return &proxy.Policy{
		TLS:     source.TLSConfig(),
		Publish: authz.NewChain(authz.ChainConfig{Authorizers: []authz.Named{{Name: "demo", Authorizer: demoKey{key}}}}),
		Play:    authz.Open{},
		Origins: []*proxy.Origin{{Name: "demo", Servers: []string{origin}}},
		Limits:  config.Default().Limits,
	}
}

// demoKey grants the one key of this run.
type demoKey struct{ key secret.Text }

func (d demoKey) Authorize(_ context.Context, r authz.Request) (authz.Grant, error) {
	if !d.key.Equal(r.Key) {
		return authz.Grant{}, authz.ErrUnknown
	}
	return authz.Grant{Subject: demoName, Name: demoName}, nil
}

func (d demoKey) KnowsApp(app string) bool { return app == "live" }

func printDemo(out io.Writer, address, dashboard string, key secret.Text, dir string) {
	_, port, _ := net.SplitHostPort(address)
	trust := "(OBS has to trust the certificate, which this demo could not keep: use the ffmpeg line.)"
	if dir != "" {
		trust = "OBS must trust this demo's certificate, once (Debian, Ubuntu; then start OBS anew):\n" +
			"        sudo cp " + filepath.Join(dir, "ca.pem") + " /usr/local/share/ca-certificates/rtmps-edge-demo.crt && sudo update-ca-certificates"
	}
	fmt.Fprintf(out, `rtmps-edge demo: RTMPS on %[1]s, an RTMP server behind it, one fresh key. Ctrl-C ends it.

Watch   %[6]s

OBS     Settings > Stream > Service: Custom
        Server:     rtmps://localhost:%[2]s/live
        Stream Key: %[3]s
        %[5]s

Publish ffmpeg -re -f lavfi -i testsrc2=s=640x360:r=30 -f lavfi -i sine=f=440 -c:v libx264 -preset veryfast -tune zerolatency -pix_fmt yuv420p -g 60 -c:a aac -f flv 'rtmps://localhost:%[2]s/live/%[3]s'

Play    ffplay 'rtmps://localhost:%[2]s/live/%[4]s'

Refused ffmpeg -re -f lavfi -i testsrc2=s=640x360:r=30 -c:v libx264 -f flv 'rtmps://localhost:%[2]s/live/wrong-key'

`, address, port, key.Reveal(), demoName, trust, dashboard)
}
