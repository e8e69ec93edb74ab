package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	acmez "github.com/mholt/acmez/v3/acme"
	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"golang.org/x/crypto/acme"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hello"
)

func TestACMEFaults(t *testing.T) {
	dir := t.TempDir()
	file, garbage := filepath.Join(dir, "file"), filepath.Join(dir, "garbage")
	put(t, file, []byte("c2VjcmV0\n"))
	put(t, garbage, []byte("s3cret!"))
	good := ACMEConfig{Domains: []string{"a.test"}, Storage: filepath.Join(dir, "new")}
	for name, test := range map[string]struct {
		change func(*ACMEConfig)
		want   string // key or file, and a part of the problem
	}{
		"good":             {func(*ACMEConfig) {}, ""},
		"good, all of it":  {func(c *ACMEConfig) { c.Email, c.Directory, c.HTTPAddress = "a@b.test", "https://ca.test/dir", ":80" }, ""},
		"no domain":        {func(c *ACMEConfig) { c.Domains = nil }, "domains there must be at least one"},
		"wildcard":         {func(c *ACMEConfig) { c.Domains = []string{"*.a.test"} }, "domains DNS-01"},
		"address":          {func(c *ACMEConfig) { c.Domains = []string{"192.0.2.1"} }, "domains must be a domain name"},
		"one label":        {func(c *ACMEConfig) { c.Domains = []string{"localhost"} }, "domains must be a domain name"},
		"URL":              {func(c *ACMEConfig) { c.Domains = []string{"https://a.test"} }, "domains must be a domain name"},
		"path":             {func(c *ACMEConfig) { c.Domains = []string{"../a.test"} }, "domains must be a domain name"},
		"no storage":       {func(c *ACMEConfig) { c.Storage = "" }, "storage must be a directory: certificates that are lost"},
		"file as storage":  {func(c *ACMEConfig) { c.Storage = file }, "storage must be a directory"},
		"below a file":     {func(c *ACMEConfig) { c.Storage = file + "/acme" }, "storage cannot be looked at"},
		"plain directory":  {func(c *ACMEConfig) { c.Directory = "http://ca.test/dir" }, "directory must be an https:// URL"},
		"no URL":           {func(c *ACMEConfig) { c.Directory = "ca.test" }, "directory must be an https:// URL"},
		"no CA":            {func(c *ACMEConfig) { c.DirectoryCA = dir + "/none" }, dir + "/none there is no such file"},
		"no certificate":   {func(c *ACMEConfig) { c.DirectoryCA = file }, file + " must hold a certificate"},
		"no port":          {func(c *ACMEConfig) { c.HTTPAddress = "0.0.0.0" }, "http_address must be host:port"},
		"no mail address":  {func(c *ACMEConfig) { c.Email = "Ops <a@b.test>" }, "email must be a mail address"},
		"half an account":  {func(c *ACMEConfig) { c.EABKeyID = "kid" }, "eab_key_id and eab_mac_key_file must be given together"},
		"other half":       {func(c *ACMEConfig) { c.EABMACKeyFile = file }, "eab_key_id and eab_mac_key_file must be given together"},
		"no MAC key":       {func(c *ACMEConfig) { c.EABKeyID, c.EABMACKeyFile = "kid", garbage }, garbage + " must hold the MAC key"},
		"unknown profile":  {func(c *ACMEConfig) { c.Profile = "best" }, "profile must be"},
		"no client bundle": {func(c *ACMEConfig) { c.ClientAuth = Required }, "client_ca is needed"},
	} {
		for kind, open := range acmeSources {
			t.Run(name+"/"+kind, func(t *testing.T) {
				c := good
				test.change(&c)
				_, err := open(c)
				var faults fault.List
				switch {
				case test.want == "" && err == nil:
				case !errors.As(err, &faults) || len(faults) != 1 && kind == "certmagic":
					t.Fatalf("%v, want %s", err, test.want)
				default:
					at, problem, _ := strings.Cut(test.want, " ")
					if f := faults[0]; f.Key+f.File != at || !strings.Contains(f.Problem, problem) {
						t.Errorf("%v, want %s", f, test.want)
					}
					if strings.Contains(err.Error(), "s3cret") {
						t.Errorf("a key is in %v", err)
					}
				}
			})
		}
	}
	if _, err := os.Stat(good.Storage); !errors.Is(err, os.ErrNotExist) {
		t.Error("the storage was made by who only looked at the configuration")
	}
}

func TestAutocertBindsNoAccount(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mac.key")
	put(t, file, []byte("c2VjcmV0"))
	_, err := NewAutocert(ACMEConfig{Domains: []string{"a.test"}, Storage: t.TempDir(), EABKeyID: "kid", EABMACKeyFile: file})
	if err == nil || !strings.Contains(err.Error(), `source = "certmagic"`) {
		t.Error(err)
	}
}

// Private authorities have names without a dot.
func TestNamesWithoutDot(t *testing.T) {
	c := ACMEConfig{Domains: []string{"studio"}, Storage: t.TempDir(), Directory: "https://ca.lan/acme/dir"}
	if _, err := NewCertMagic(c); err != nil {
		t.Error(err)
	}
	if _, err := NewAutocert(c); err == nil || !strings.Contains(err.Error(), `"studio": must be a domain name`) || !strings.Contains(err.Error(), `need source = "certmagic"`) {
		t.Error(err)
	}
}

func TestAllFaultsAtOnce(t *testing.T) {
	_, err := NewCertMagic(ACMEConfig{
		Options: Options{Profile: "x"}, Domains: []string{"*.a.test", "b c"}, Directory: "https://user:hunter2@ca.test/dir?", HTTPAddress: "80",
	})
	var faults fault.List
	if !errors.As(err, &faults) || len(faults) != 6 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%d: %v", len(faults), err)
	}
}

func TestDomainNames(t *testing.T) {
	s, err := NewCertMagic(ACMEConfig{Domains: []string{"Live.Example.COM.", "live.example.com", "bücher.example", "a-b.test"}, Storage: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprint(s.cfg.Domains); got != "[live.example.com xn--bcher-kva.example a-b.test]" {
		t.Error(got)
	}
	if s.cfg.Directory != LetsEncrypt {
		t.Error(s.cfg.Directory)
	}
}

func TestMACKeys(t *testing.T) {
	file := filepath.Join(t.TempDir(), "mac.key")
	for text, want := range map[string]string{"-_-_": "-_-_", "+/+/\n": "-_-_", " YQ== ": "YQ"} {
		put(t, file, []byte(text))
		if got, err := readMACKey(file); err != nil || got.Reveal() != want {
			t.Errorf("%q: %q, %v", text, got.Reveal(), err)
		}
	}
	for _, text := range []string{"", "\n", "a b", "{}"} {
		put(t, file, []byte(text))
		if _, err := readMACKey(file); err == nil {
			t.Errorf("%q is no key", text)
		}
	}
}

func TestExplain(t *testing.T) {
	problem := func(kind string) error {
		return fmt.Errorf("[a.test] Obtain: %w", acmez.Problem{Type: problemPrefix + kind, Detail: "because", Status: 403})
	}
	other := func(kind string) *acme.Error {
		return &acme.Error{StatusCode: 403, ProblemType: problemPrefix + kind, Detail: "because"}
	}
	for _, test := range []struct {
		err       error
		why, cure string
	}{
		{problem("connection"), `the authority says connection: "because"`, "port 443"},
		{problem("dns"), `says dns`, "A or AAAA"},
		{problem("rateLimited"), "says rateLimited", "wait"},
		{problem("caa"), "says caa", "CAA"},
		{problem("somethingNew"), "says somethingNew", "the authority's answer"},
		{acmez.Problem{Type: problemPrefix + "compound", Subproblems: []acmez.Subproblem{{Problem: acmez.Problem{Type: problemPrefix + "caa", Detail: "sub"}}}}, `says caa: "sub"`, "CAA"},
		{other("unauthorized"), "says unauthorized", "something else answers"},
		{&acme.Error{ProblemType: problemPrefix + "malformed", Subproblems: []acme.Subproblem{{Type: problemPrefix + "rejectedIdentifier", Detail: "sub"}}}, `says rejectedIdentifier: "sub"`, "another name"},
		{fmt.Errorf("x: %w", &acme.AuthorizationError{Errors: []error{errors.New("?"), other("tls")}}), "says tls", "port 443"},
		{&acme.OrderError{Status: "invalid", Problem: other("badCSR")}, "says badCSR", "answer"},
		{&acme.OrderError{Status: "invalid"}, "invalid", "trace"},
		{errors.Join(problemError{newProblem(problemPrefix+"dns", "NXDOMAIN")}, errors.New("no viable challenge")), `says dns: "NXDOMAIN"`, "A or AAAA"},
		{&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}, "not believed", "directory_ca"},
		{x509.HostnameError{Certificate: testAuthority().Leaf, Host: "x"}, "another name", "host in directory"},
		{&net.OpError{Op: "dial", Err: &net.DNSError{Name: "ca.test"}}, "cannot be resolved", "DNS"},
		{&net.OpError{Op: "dial", Err: errors.New("connection refused")}, "cannot be reached", "HTTPS_PROXY"},
		{fmt.Errorf("x: %w", context.DeadlineExceeded), "cannot be reached", "HTTPS_PROXY"},
		{&os.PathError{Op: "open", Path: "/var/lib", Err: os.ErrPermission}, "storage cannot be used", "own the storage"},
		{errors.New("failed storage check: no space left"), "storage cannot be used", "disk"},
		{errors.New("404"), "404", "ACME directory"},
	} {
		got := explainACME(test.err)
		if !strings.Contains(got.why, test.why) || !strings.Contains(got.cure, test.cure) {
			t.Errorf("%v: %+v", test.err, got)
		}
	}
	for kind, cure := range problemCures {
		if cure == "" || strings.HasSuffix(cure, ".") {
			t.Errorf("%s: %q", kind, cure)
		}
	}
}

// An authority writes what it likes, and what it answers is logged.
func TestExplainHostile(t *testing.T) {
	got := explainACME(acmez.Problem{Type: strings.Repeat("\x1b[2J\n\xff", 1000), Detail: strings.Repeat("\n\x1b", 100000)})
	if len(got.why) > 3000 || strings.ContainsAny(got.why, "\n\x1b") || !utf8.ValidString(got.why) {
		t.Errorf("%d bytes: %.100q", len(got.why), got.why)
	}
}

func TestOverheard(t *testing.T) {
	answers := map[string]struct {
		status     int
		kind, body string
		want       string
	}{
		"/problem":  {403, "application/problem+json", `{"type":"urn:ietf:params:acme:error:caa","detail":"no"}`, `caa: "no"`},
		"/authz":    {200, "application/json", `{"status":"invalid","challenges":[{"type":"http-01"},{"error":{"type":"urn:ietf:params:acme:error:dns","detail":"NXDOMAIN"}}]}`, `dns: "NXDOMAIN"`},
		"/order":    {200, "application/json", `{"error":{"type":"urn:ietf:params:acme:error:badCSR","detail":"x"}}`, `badCSR: "x"`},
		"/nonce":    {400, "application/problem+json", `{"type":"urn:ietf:params:acme:error:badNonce"}`, ""},
		"/well":     {200, "application/json", `{"type":"urn:ietf:params:acme:error:caa"}`, ""},
		"/page":     {500, "text/html", `{"type":"x"}`, ""},
		"/broken":   {500, "application/json", `{"type":`, ""},
		"/cert.pem": {200, "application/pem-certificate-chain", "PEM", ""},
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := answers[r.URL.Path]
		w.Header().Set("Content-Type", a.kind)
		w.WriteHeader(a.status)
		_, _ = io.WriteString(w, a.body)
	}))
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithCancel(t.Context())
	o := &overheard{ctx: ctx, next: srv.Client().Transport}
	client := &http.Client{Transport: o}
	for path, a := range answers {
		o.forget()
		res, err := client.Get(srv.URL + path)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		_ = res.Body.Close()
		if err != nil || string(body) != a.body {
			t.Errorf("%s: %q, %v", path, body, err)
		}
		p, ok := o.last()
		if got := p.Error(); ok != (a.want != "") || ok && got != a.want {
			t.Errorf("%s: %s, want %s", path, got, a.want)
		}
	}
	cancel()
	if res, err := client.Get(srv.URL + "/well"); err == nil {
		_ = res.Body.Close()
		t.Error("a source that has ended speaks to the authority")
	}
}

func TestBackoff(t *testing.T) {
	var sum time.Duration
	for n := 1; n <= requestTries; n++ {
		d := backoff(n, nil, &http.Response{StatusCode: 500})
		if d <= 0 {
			t.Errorf("attempt %d: %v", n, d)
		}
		sum += d
	}
	if sum > acmeTimeout || backoff(requestTries+1, nil, nil) > 0 || backoff(1, nil, &http.Response{StatusCode: 429}) > 0 {
		t.Errorf("%v", sum)
	}
}

// What a library says is heard at trace only.
func TestZap(t *testing.T) {
	log, said := logger()
	z := zapTo(log).Named("obtain").With(zap.String("one", "1"))
	log.SetLevel(logrus.DebugLevel)
	z.Error("hush")
	if said.String() != "" {
		t.Error(said)
	}
	log.SetLevel(logrus.TraceLevel)
	z.With(zap.Int("two", 2)).Error("heard", zap.Error(errors.New("three")))
	z.Info("also")
	for _, want := range []string{"level=trace", "msg=heard", `from="acme obtain"`, "as=error", "one=1", "two=2", "error=three", "msg=also"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%s is not in %s", want, said)
		}
	}
	if err := z.Sync(); err != nil {
		t.Error(err)
	}
}

// Until it runs, and for names that are not its own, a source answers no
// challenge, and asks no storage.
func TestChallengesOfOthers(t *testing.T) {
	a := &acmeSource{cfg: ACMEConfig{Domains: []string{"a.test"}}}
	if _, err := a.answerChallenge(&tls.ClientHelloInfo{ServerName: "a.test"}); !errors.Is(err, hello.ErrNoChallenge) {
		t.Error(err)
	}
	asked := 0
	answer := func(*tls.ClientHelloInfo) (*tls.Certificate, error) { asked++; return nil, errors.New("none") }
	a.answer.Store(&answer)
	for _, name := range []string{"", "b.test", "x.a.test"} {
		if _, err := a.answerChallenge(&tls.ClientHelloInfo{ServerName: name}); !errors.Is(err, hello.ErrNoChallenge) || asked > 0 {
			t.Errorf("%q: %v, asked %d times", name, err, asked)
		}
	}
	if _, err := a.answerChallenge(&tls.ClientHelloInfo{ServerName: "A.test"}); !errors.Is(err, hello.ErrNoChallenge) || asked != 1 {
		t.Errorf("%v, asked %d times", err, asked)
	}
}

// Only a client that offers the protocol of challenges and no other gets it.
func TestWhoValidates(t *testing.T) {
	s, err := NewCertMagic(ACMEConfig{Domains: []string{"a.test"}, Storage: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	c := s.TLSConfig()
	for _, test := range []struct {
		protocols []string
		want      bool
	}{{nil, false}, {[]string{"h2"}, false}, {[]string{"h2", hello.ACMEProtocol}, false}, {[]string{hello.ACMEProtocol}, true}} {
		got, err := c.GetConfigForClient(&tls.ClientHelloInfo{SupportedProtos: test.protocols})
		if err != nil || (got != nil) != test.want {
			t.Errorf("%q: %v, %v", test.protocols, got, err)
		}
	}
	if len(c.NextProtos) > 0 || s.challenge.ClientAuth != tls.NoClientCert {
		t.Error("protocols are negotiated with everybody, or authorities have to show certificates")
	}
}

// The HTTP listener belongs to authorities: others cannot hold it up, or make
// it read what is long.
func TestHTTPListenerIsBounded(t *testing.T) {
	log, said := logger()
	a := &acmeSource{cfg: ACMEConfig{Domains: []string{"a.test"}, HTTPAddress: "127.0.0.1:0", pace: pace{}.withDefaults()}}
	a.opts.Log = log
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		a.serveHTTP(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host) }))
	})
	wait(t, "the listener", func() bool { return strings.Contains(said.String(), "address=") })
	_, address, _ := strings.Cut(said.String(), "address=")
	address = strings.Trim(strings.Fields(address)[0], `"`)
	for request, want := range map[string]string{
		"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: A.test:8080\r\nConnection: close\r\n\r\n":                           "200 OK",
		"POST /.well-known/acme-challenge/x HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: 0\r\n\r\n":          "404 Not Found",
		"GET / HTTP/1.1\r\nHost: a.test\r\nX: " + strings.Repeat("x", 3*httpHeader) + "\r\nConnection: close\r\n\r\n":            "431 ",
		"GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n":                                "404 Not Found",
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 and what else a client of TLS says, to the wrong port\r\n\r\nand more\r\n": "400 ",
	} {
		if got := rawAnswer(t, address, request); !strings.HasPrefix(got, "HTTP/1.1 "+want) {
			t.Errorf("%.40q: %.60q, want %s", request, got, want)
		}
	}
	open, err := net.Dial("tcp", address) // says nothing, and is there when it ends
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	wg.Wait()
	_ = open.Close()
}

// rawAnswer returns what a server answers to raw bytes.
func rawAnswer(t *testing.T, address, request string) string {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, _ = io.WriteString(c, request)
	answer, _ := io.ReadAll(c)
	return string(answer)
}

// A certificate that should have been renewed is told of, and not all the time.
func TestOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log, said := logger()
		a := &Autocert{}
		a.opts.Log = log
		a.table.Store(&table{})
		a.pending = map[string]waiting{}
		s := &slot{domain: "a.test", kind: kindECDSA}
		seen := &overheard{}
		now := time.Now()
		cert := &tls.Certificate{Leaf: &x509.Certificate{NotBefore: now, NotAfter: now.Add(90 * 24 * time.Hour)}}
		told := func() int { return strings.Count(said.String(), "level=warning") }
		time.Sleep(67 * 24 * time.Hour)
		a.nag(s, cert, seen)
		if told() != 0 {
			t.Errorf("nothing is wrong yet: %s", said)
		}
		time.Sleep(24 * time.Hour)
		a.nag(s, cert, seen)
		time.Sleep(overdueEvery - 1)
		a.nag(s, cert, seen)
		if told() != 1 || !strings.Contains(a.Pending()["a.test"], "should have been renewed") {
			t.Errorf("told %d times: %s", told(), said)
		}
		p := newProblem(problemPrefix+"caa", "no")
		seen.kept = &p
		time.Sleep(1 * time.Nanosecond)
		a.nag(s, cert, seen)
		if told() != 2 || !strings.Contains(a.Pending()["a.test"], "says caa") {
			t.Errorf("told %d times: %s", told(), said)
		}
	})
}

// The first domain's certificate is the default, whichever came first.
func TestOrderOfDomains(t *testing.T) {
	log, said := logger()
	s, err := NewCertMagic(ACMEConfig{Options: Options{Log: log}, Domains: []string{"b.test", "a.test"}, Storage: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Pending(); len(got) != 2 || got["a.test"] == "" {
		t.Error(got)
	}
	config := s.TLSConfig()
	s.put("a.test", issue(t, kindECDSA, "a.test"))
	first := issue(t, kindECDSA, "b.test")
	s.put("b.test", first)
	if got := shake(t, config, &tls.Config{InsecureSkipVerify: true}).leaf(t); !got.Equal(first.Leaf) {
		t.Error(got.DNSNames)
	}
	if got := s.Certificates(); len(got) != 2 || got[0].Name != "b.test" || len(s.Pending()) != 0 {
		t.Errorf("%v, %v", got, s.Pending())
	}
	if n := strings.Count(said.String(), "serves new connections"); n != 2 {
		t.Errorf("told %d times: %s", n, said)
	}
}

// An OCSP answer is taken over as it comes, and no word is lost about it.
func TestStaple(t *testing.T) {
	log, said := logger()
	s, err := NewCertMagic(ACMEConfig{Options: Options{Log: log}, Domains: []string{"a.test"}, Storage: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	plain := issue(t, kindECDSA, "a.test")
	stapled := *plain
	stapled.OCSPStaple = []byte("answer")
	s.put("a.test", plain)
	s.put("a.test", &stapled)
	c := trusting()
	c.ServerName = "a.test"
	got := shake(t, s.TLSConfig(), c)
	got.works(t)
	if answer := got.client.OCSPResponse(); string(answer) != "answer" || strings.Count(said.String(), "level=info") != 1 {
		t.Errorf("%q: %s", answer, said)
	}
}
