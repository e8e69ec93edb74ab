package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"rtmps-edge/rtmp/rtmptest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// theKey is a stream key with all that may stand in one.
const theKey = "k3y-of-alice?token=t0ken%2Fsecret&exp=1999999999"

// heard are the steps of a probe.
type heard struct {
	t     *testing.T
	ok    bool
	steps []Step
}

// run probes address. No step may tell a part of the key.
func run(t *testing.T, address string, c Config) *heard {
	t.Helper()
	h := &heard{t: t}
	scheme := "rtmp://"
	if c.Roots != nil {
		scheme = "rtmps://"
	}
	if c.Target.Host == "" {
		var err error
		if c.Target, err = ParseURL(scheme + address + "/live/" + theKey); err != nil {
			t.Fatal(err)
		}
	}
	if c.Settle == 0 {
		c.Settle = 30 * time.Millisecond // that it lasts is tested by the word of who ends it
	}
	c.Heard = func(s Step) { h.steps = append(h.steps, s) }
	h.ok = Run(context.Background(), c)
	all, err := json.Marshal(h.steps)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range c.Target.secrets() {
		if strings.Contains(strings.ToLower(string(all)), strings.ToLower(s)) {
			t.Errorf("%q is told: %s", s, all)
		}
	}
	return h
}

// fails wants step to be the last, with this failure and a cure.
func (h *heard) fails(step string, problem Problem, words ...string) {
	h.t.Helper()
	if h.ok || len(h.steps) == 0 {
		h.t.Fatalf("it did not fail: %+v", h.steps)
	}
	last := h.steps[len(h.steps)-1]
	if last.OK || last.Name != step || !finds(last.Failures, problem, words) {
		h.t.Errorf("the last step is %+v, and should be %s with %s, %q", last, step, problem, words)
	}
}

func finds(list []Finding, problem Problem, words []string) bool {
	return slices.ContainsFunc(list, func(f Finding) bool {
		return f.Problem == problem && f.Cure != "" && !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(f.Text+"\n"+f.Cure, w) })
	})
}

// succeeds wants all steps to be well.
func (h *heard) succeeds(names ...string) {
	h.t.Helper()
	var got []string
	for _, s := range h.steps {
		got = append(got, s.Name)
		if !s.OK || s.Milliseconds < 0 {
			h.t.Errorf("%+v", s)
		}
	}
	if !h.ok || !slices.Equal(got, names) {
		h.t.Errorf("%v, the steps are %+v", h.ok, h.steps)
	}
}

// listen serves each connection with f until the test ends.
func listen(t *testing.T, f func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	ended := make(chan struct{})
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				stop := make(chan struct{})
				serving.Go(func() {
					select {
					case <-ended:
					case <-stop:
					}
					_ = c.Close()
				})
				f(c)
				close(stop)
			})
		}
	})
	t.Cleanup(func() { _ = ln.Close(); close(ended); serving.Wait() })
	return ln.Addr().String()
}

// behindTLS ends TLS and passes all on to an RTMP server.
func behindTLS(t *testing.T, c *tls.Config, origin string) string {
	return listen(t, func(raw net.Conn) {
		client := tls.Server(raw, c)
		if client.Handshake() != nil {
			_, _ = io.Copy(io.Discard, raw) // until the client has read why
			return
		}
		server, err := net.Dial("tcp", origin)
		if err != nil {
			return
		}
		defer func() { _ = server.Close() }()
		go func() { _, _ = io.Copy(server, client); _ = server.Close() }()
		_, _ = io.Copy(client, server)
		_ = client.Close()
	})
}

// silent takes what comes and answers nothing.
func silent(c net.Conn) { _, _ = io.Copy(io.Discard, c) }

// says answers the first bytes with text.
func says(text string) func(net.Conn) {
	return func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1))
		_, _ = io.WriteString(c, text)
		_ = c.(*net.TCPConn).CloseWrite()
		silent(c)
	}
}

// soon is for servers that answer nothing.
const soon = 100 * time.Millisecond

func TestAGoodServer(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Mode: rtmptest.Strict})
	h := run(t, origin.Addr(), Config{})
	h.succeeds("DNS", "TCP", "handshake", "connect", "createStream", "publish")
	c := origin.Conn(t, 0)
	if got := c.TcURL(); got != "rtmp://"+origin.Addr()+"/live" || c.App() != "live" {
		t.Errorf("app %q, tcUrl %q", c.App(), got)
	}
	for _, n := range c.Names() {
		if n.Name != theKey {
			t.Errorf("%s of %q", n.Command, n.Name)
		}
	}
}

func TestAGoodEncryptedServer(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	address := behindTLS(t, ca.server(t, leaf{names: []string{"localhost"}}), origin.Addr())
	h := run(t, strings.Replace(address, "127.0.0.1", "localhost", 1), Config{Roots: ca.pool()})
	h.succeeds("DNS", "TCP", "TLS", "certificate", "handshake", "connect", "createStream", "publish")
	if s := h.steps[2]; s.TLS != "TLS 1.3" || s.Cipher == "" || len(s.Warnings) > 0 {
		t.Errorf("%+v", s)
	}
	if s := h.steps[3]; s.DaysLeft == nil || *s.DaysLeft != 89 || len(s.Warnings) > 0 || !strings.Contains(s.Detail, `good for localhost, 89 days left, by root`) {
		t.Errorf("%+v", s)
	}
}

func TestWhatAnswersOnThePort(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{Unchecked: true})
	encrypted := behindTLS(t, ca.server(t, leaf{names: []string{"localhost"}}), origin.Addr())
	closed := listen(t, func(net.Conn) {})
	nobody := listen(t, silent)
	for name, c := range map[string]struct {
		address string
		secure  bool
		step    string
		problem Problem
		words   []string
	}{
		"plain RTMP where TLS was meant":   {origin.Addr(), true, stepTLS, PlainRTMP, []string{"rtmp://" + origin.Addr()}},
		"TLS where plain RTMP was meant":   {encrypted, false, stepHandshake, PlainTLS, []string{"rtmps://"}},
		"HTTP where TLS was meant":         {listen(t, says("HTTP/1.1 400 Bad Request\r\n\r\n")), true, stepTLS, WebServer, []string{`"HTTP/1.1 400 Bad Request"`}},
		"HTTP where RTMP was meant":        {listen(t, says("HTTP/1.0 400 no k3y-of-ALICE\r\n\r\n")), false, stepHandshake, WebServer, []string{`no [key]"`}},
		"SSH where TLS was meant":          {listen(t, says("SSH-2.0-Open\x1b[2J\r\n")), true, stepTLS, NotRTMP, nil},
		"SSH where RTMP was meant":         {listen(t, says("SSH-2.0-OpenSSH_9\r\n")), false, stepHandshake, NotRTMP, []string{`says: "SSH-2.0-OpenSSH_9"`}},
		"bytes where RTMP was meant":       {listen(t, says("\x07\xff")), false, stepHandshake, NotRTMP, []string{"07 ff"}},
		"a TLS alert where RTMP was meant": {listen(t, says("\x15\x03\x01\x00\x02\x02\x46")), false, stepHandshake, PlainTLS, nil},
		"silence where TLS was meant":      {nobody, true, stepTLS, Silent, nil},
		"silence where RTMP was meant":     {nobody, false, stepHandshake, Silent, nil},
		"a close where TLS was meant":      {closed, true, stepTLS, HungUp, []string{"ban"}},
		"a close where RTMP was meant":     {closed, false, stepHandshake, HungUp, []string{"ban"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conf := Config{}
			switch c.address { // these do not hang up
			case nobody:
				conf.hello, conf.second = soon, soon
			case encrypted:
				conf.hello = soon
			}
			if c.secure {
				conf.Roots = ca.pool()
			}
			run(t, c.address, conf).fails(c.step, c.problem, c.words...)
		})
	}
}

func TestNothingListens(t *testing.T) {
	t.Parallel()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = ln.Close()
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	run(t, ln.Addr().String(), Config{}).fails(stepTCP, NothingListens, ln.Addr().String(), "is "+port+" its port")
}

func TestUndialed(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Problem
	}{
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}, NothingListens},
		{&net.OpError{Op: "dial", Err: os.ErrDeadlineExceeded}, NoAnswer},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ETIMEDOUT)}, NoAnswer},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ENETUNREACH)}, Unreachable},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EHOSTUNREACH)}, Unreachable},
		{&net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EPERM)}, Unreachable},
		{context.DeadlineExceeded, NoAnswer},
	} {
		if got := undialed("192.0.2.1:1936", c.err); got.Problem != c.want || !strings.Contains(got.Text, "192.0.2.1:1936") {
			t.Errorf("%v: %+v, want %s", c.err, got, c.want)
		}
	}
}

// One address of a host may be dead: it works, and something is to be mended.
func TestTheFirstAddressIsDead(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	h := &heard{t: t}
	target, err := ParseURL("rtmp://" + origin.Addr() + "/live/" + theKey)
	if err != nil {
		t.Fatal(err)
	}
	p := &prober{Config: Config{Target: target, Heard: func(s Step) { h.steps = append(h.steps, s) }}.withDefaults()}
	conn, ok := p.dial(t.Context(), []string{"127.0.0.9", "127.0.0.1"})
	if !ok {
		t.Fatalf("%+v", h.steps)
	}
	_ = conn.Close()
	if s := h.steps[0]; !s.OK || !finds(s.Warnings, NothingListens, []string{"127.0.0.9", "out of DNS"}) {
		t.Errorf("%+v", s)
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	target, err := ParseURL("rtmps://edge.test/live/" + theKey)
	if err != nil {
		t.Fatal(err)
	}
	// A server that knows no name, and none that answers.
	unknown := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		client, server := net.Pipe()
		go noSuchName(server)
		return client, nil
	}}
	dead := &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		return nil, errors.New("no name server")
	}}
	run(t, "", Config{Target: target, resolver: unknown}).fails(stepDNS, NoSuchHost, "edge.test")
	run(t, "", Config{Target: target, resolver: dead}).fails(stepDNS, NoDNS, "resolv.conf")
}

// noSuchName answers each question, which over a stream begins with its length,
// with NXDOMAIN.
func noSuchName(c net.Conn) {
	defer func() { _ = c.Close() }()
	for {
		var size uint16
		if binary.Read(c, binary.BigEndian, &size) != nil {
			return
		}
		q := make([]byte, size)
		if _, err := io.ReadFull(c, q); err != nil {
			return
		}
		q[2] |= 0x84                             // an answer, with authority
		q[3] = 3                                 // NXDOMAIN
		binary.BigEndian.PutUint16(q[10:], 0)    // no additional record
		q = q[:12+len("\x04edge\x04test\x00")+4] // the question, repeated
		if _, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...)); err != nil {
			return
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	refuse := func(code, text string) rtmptest.OriginConfig {
		return rtmptest.OriginConfig{RefusePublish: &rtmptest.StatusError{Code: code, Description: text}}
	}
	atConnect := func(code, text string) rtmptest.OriginConfig {
		return rtmptest.OriginConfig{RefuseConnect: &rtmptest.StatusError{Code: code, Description: text}}
	}
	for name, c := range map[string]struct {
		origin  rtmptest.OriginConfig
		step    string
		problem Problem
		words   []string
	}{
		"wrong key":       {refuse("NetStream.Publish.Denied", "no."), stepPublish, WrongKey, []string{`"NetStream.Publish.Denied no."`, "key list"}},
		"MediaMTX":        {refuse("NetStream.Publish.Unauthorized", ""), stepPublish, WrongKey, nil},
		"in use":          {refuse("NetStream.Publish.BadName", "Already publishing"), stepPublish, InUse, nil},
		"over a limit":    {refuse("NetStream.Publish.Rejected", ""), stepPublish, OverLimit, nil},
		"origin down":     {refuse("NetStream.Failed", "not available"), stepPublish, OriginDown, []string{"rtmps-edge check"}},
		"another code":    {refuse("NetStream.Whatever", ""), stepPublish, Refused, []string{"NetStream.Whatever"}},
		"the key is said": {refuse("NetStream.Publish.BadName", theKey+" t0ken/secret K3Y-OF-ALICE"), stepPublish, InUse, []string{"[key] [key] [key]"}},
		"a forged line":   {refuse("NetStream.Publish.BadName", "x\r\nok \x1b[1A"), stepPublish, InUse, []string{`x\r\nok \x1b[1A`}},
		"unknown app":     {atConnect("NetConnection.Connect.InvalidApp", ""), stepConnect, UnknownApp, []string{"between host and key"}},
		"a login": {atConnect("NetConnection.Connect.Rejected", "[ AccessManager.Reject ] : [ code=403 need auth; authmod=adobe ] : "), stepConnect,
			WantsLogin, []string{"Use authentication"}},
		"rejected":                {atConnect("NetConnection.Connect.Rejected", "not you"), stepConnect, Refused, []string{"not you"}},
		"closed at the handshake": {rtmptest.OriginConfig{CloseAt: rtmptest.StepHandshake, Unchecked: true}, stepHandshake, HungUp, nil},
		"closed at connect":       {rtmptest.OriginConfig{CloseAt: rtmptest.StepConnect}, stepConnect, ClosedAtConnect, []string{"nginx-rtmp"}},
		"closed at publish":       {rtmptest.OriginConfig{CloseAt: rtmptest.StepPublish}, stepPublish, ClosedAtPublish, []string{"on_publish"}},
		"closed at createStream":  {rtmptest.OriginConfig{CloseAt: rtmptest.StepCreateStream}, "createStream", ClosedAtPublish, []string{"on_publish"}},
		"closed after its word":   {rtmptest.OriginConfig{Answer: endAtOnce(nil)}, stepPublish, AcceptedThenEnded, []string{"closed at once", "deny publish"}},
		"ended after its word": {rtmptest.OriginConfig{Answer: endAtOnce(&rtmptest.StatusError{Code: "NetStream.Publish.Rejected", Description: "k3y-of-alice goes"})},
			stepPublish, AcceptedThenEnded, []string{"[key] goes"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := rtmptest.NewOrigin(t, c.origin)
			run(t, origin.Addr(), Config{Settle: rtmptest.Patience, Timeout: rtmptest.Patience}).fails(c.step, c.problem, c.words...)
		})
	}
}

// endAtOnce accepts publish and ends the stream.
func endAtOnce(why *rtmptest.StatusError) func(*rtmptest.OriginConn, rtmptest.Command, rtmptest.Message) bool {
	return func(c *rtmptest.OriginConn, cmd rtmptest.Command, _ rtmptest.Message) bool {
		if cmd.Name != "publish" {
			return false
		}
		_ = c.Status(&rtmptest.StatusError{Level: "status", Code: "NetStream.Publish.Start"})
		if why != nil {
			_ = c.Status(why)
		} else {
			c.Close()
		}
		return true
	}
}

func TestNoAnswerInTime(t *testing.T) {
	t.Parallel()
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{HangAt: rtmptest.StepPublish})
	// The whole must be long enough for the steps before.
	h := run(t, origin.Addr(), Config{Timeout: 2 * time.Second})
	h.fails(stepPublish, Slow, "webhook")
}

func TestClientCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		conf := ca.server(t, leaf{names: []string{"127.0.0.1"}})
		conf.ClientAuth, conf.ClientCAs, conf.MaxVersion = tls.RequireAndVerifyClientCert, ca.pool(), version
		address := behindTLS(t, conf, origin.Addr())
		step := map[uint16]string{tls.VersionTLS12: stepTLS, tls.VersionTLS13: stepHandshake}[version]
		run(t, address, Config{Roots: ca.pool()}).fails(step, WantsCertificate, "--client-cert")
		pair := ca.issue(t, leaf{names: []string{"alice"}, usage: x509.ExtKeyUsageClientAuth})
		if h := run(t, address, Config{Roots: ca.pool(), Certificate: &pair}); !h.ok {
			t.Errorf("%+v", h.steps)
		}
	}
}

func TestServersWithoutSharedTLS(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t, "root")
	none := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, errors.New("not yet") }}
	run(t, behindTLS(t, none, ""), Config{Roots: ca.pool()}).fails(stepTLS, NoCertificate, "certificate for 127.0.0.1")
	run(t, listen(t, says("\x15\x03\x01\x00\x02\x02\x46")), Config{Roots: ca.pool()}).fails(stepTLS, NoSharedTLS, "protocol version")

	old := ca.server(t, leaf{names: []string{"127.0.0.1"}})
	old.MinVersion, old.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	h := run(t, behindTLS(t, old, origin.Addr()), Config{Roots: ca.pool()})
	if !h.ok || !finds(h.steps[2].Warnings, WeakTLS, nil) {
		t.Errorf("%+v", h.steps)
	}
}

// A certificate that is not good ends the probe, or is a warning.
func TestInsecure(t *testing.T) {
	t.Parallel()
	ca, other := newAuthority(t, "root"), newAuthority(t, "other")
	origin := rtmptest.NewOrigin(t, rtmptest.OriginConfig{})
	address := behindTLS(t, ca.server(t, leaf{names: []string{"127.0.0.1"}}), origin.Addr())
	run(t, address, Config{Roots: other.pool()}).fails(stepCertificate, UnknownIssuer, "root", "--ca FILE")
	h := run(t, address, Config{Roots: other.pool(), Insecure: true})
	if !h.ok || !finds(h.steps[3].Warnings, UnknownIssuer, nil) {
		t.Errorf("%+v", h.steps)
	}
}

func TestReadableKeys(t *testing.T) {
	for address, want := range map[string]bool{"127.0.0.1:1935": false, "[::1]:1935": false, "192.0.2.1:1935": true, "[2001:db8::1]:1935": true} {
		p := &prober{address: address}
		if got := len(p.readable(stepHandshake)) > 0; got != want {
			t.Errorf("%s: %v", address, got)
		}
	}
	p := &prober{address: "192.0.2.1:1936", Config: Config{Target: Target{Secure: true}}}
	if len(p.readable(stepHandshake)) > 0 {
		t.Error("encrypted is called readable")
	}
}

// Every problem has a cure, in sentences, that can be filled in.
func TestEveryProblemHasACure(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "problem.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || len(v.Values) != 1 {
			return true
		}
		word, ok := v.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		name := Problem(strings.Trim(word.Value, `"`))
		cure := name.cure(Target{Host: "edge.test", Port: "1936"})
		if cure == "" || strings.ContainsAny(cure, "{}") || !strings.Contains(".?…", cure[len(cure)-1:]) || seen[string(name)] {
			t.Errorf("%s: %q", name, cure)
		}
		seen[string(name)] = true
		return true
	})
	if len(seen) != len(cures) || len(seen) < 30 {
		t.Errorf("%d problems, %d cures", len(seen), len(cures))
	}
}

func ExampleRun() {
	target, _ := ParseURL("rtmp://127.0.0.1:1/live/alice-key")
	ok := Run(context.Background(), Config{Target: target, Heard: func(s Step) { fmt.Println(s.Name, s.OK) }})
	fmt.Println(ok)
	// Output:
	// DNS true
	// TCP false
	// false
}
