package config

import (
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/fault"
	"rtmps-edge/proxy"
	"rtmps-edge/ratelimit"
	"rtmps-edge/tlsconf"
)

// write makes a directory with files and returns the path of its edge.toml.
func write(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "edge.toml")
}

const least = "[[listener]]\n[[origin]]\n[authz]\npublish = [\"open\"]\n"

func load(t *testing.T, text string) *Config {
	t.Helper()
	c, err := Load(write(t, map[string]string{"edge.toml": text}))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The file that documents the keys says what the defaults are.
func TestDocumentedDefaults(t *testing.T) {
	text, err := os.ReadFile("../edge.toml")
	if err != nil {
		t.Fatal(err)
	}
	documented, err := Load(write(t, map[string]string{"edge.toml": string(text), "keys.toml": ""}))
	if err != nil {
		t.Fatal(err)
	}
	bare, err := Load(write(t, map[string]string{"edge.toml": "[[listener]]\n[[origin]]\n", "keys.toml": ""}))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []*Config{documented, bare} {
		c.Authz.KeysFile, c.File, c.Sum = filepath.Base(c.Authz.KeysFile), "", [32]byte{}
		c.Authz.Password.File = filepath.Base(c.Authz.Password.File)
		c.Authz.Certificate.File = filepath.Base(c.Authz.Certificate.File)
		c.Listeners[0].Line = 0
		if b := c.Listeners[0].Balancers; len(b.Networks) > 0 || b.Unix {
			t.Error("somebody is believed by default")
		}
		for _, list := range []*[]string{&c.TLS.SelfSignedNames} {
			if *list == nil {
				*list = []string{}
			}
		}
		c.names.line, c.clusterLines = 0, nil
		// Zero means the default that the documentation gives.
		o := c.Origins[0]
		if o.ChunkSize == 0 {
			o.ChunkSize = 65536
		}
		if o.MessageSize == 0 {
			o.MessageSize = 16 << 20
		}
		a := &c.Authz
		if len(a.PublishFrom)+len(a.PlayFrom)+len(a.DenyFrom) > 0 {
			t.Error("networks by default")
		}
		a.PublishFrom, a.PlayFrom, a.DenyFrom = nil, nil, nil
	}
	if !reflect.DeepEqual(documented, bare) {
		t.Errorf("documented\n%+v\ndefault\n%+v", documented, bare)
	}
}

// Every key that is read is documented, and nothing else is. The keys that are
// read are those that each table's fault for an unknown key lists.
func TestEveryKeyIsDocumented(t *testing.T) {
	tables := []string{"[log]", "[[listener]]", "[tls]", "[[tls.certificate]]", "[tls.acme]", "[[origin]]", "[[route]]", "[authz]", "[authz.keys]", "[authz.password]", "[authz.certificate]", "[authz.webhook]", "[authz.jwt]", "[[authz.signed]]", "[limits]", "[cluster]", "[admin]", "[[notify]]"}
	text := ""
	for _, table := range tables {
		text += table + "\nnot-a-key = 1\n"
	}
	_, err := Load(write(t, map[string]string{"edge.toml": text}))
	known := map[string][]string{}
	for _, f := range err.(fault.List) {
		table, ok := strings.CutSuffix(f.Key, ".not-a-key")
		_, keys, isList := strings.Cut(f.Problem, "the keys are ")
		if ok && isList {
			known[table] = strings.Split(keys, ", ")
		}
	}
	documented := documentedKeys(t)
	for _, table := range tables {
		name := strings.Trim(table, "[]")
		if len(known[name]) == 0 || len(documented[name]) == 0 {
			t.Errorf("%s: known %v, documented %v", table, known[name], documented[name])
		}
		for _, key := range documented[name] {
			if !slices.Contains(known[name], key) {
				t.Errorf("%s.%s is documented and not known", name, key)
			}
		}
		for _, key := range known[name] {
			if !slices.Contains(documented[name], key) &&
				!slices.Contains(slices.Collect(mapsKeys(documented)), name+"."+key) {
				t.Errorf("%s.%s is known and not documented", name, key)
			}
		}
	}
}

func mapsKeys(m map[string][]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

// documentedKeys reads edge.toml by its look: comments with keys count too.
func documentedKeys(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile("../edge.toml")
	if err != nil {
		t.Fatal(err)
	}
	header := regexp.MustCompile(`^(?:# )?\[\[?([a-z.]+)\]\]?`)
	key := regexp.MustCompile(`^(?:# )?([a-z_]+) += .*#.*`)
	keys, table := map[string][]string{}, ""
	for line := range strings.Lines(string(text)) {
		if m := header.FindStringSubmatch(line); m != nil {
			table = m[1]
		} else if m := key.FindStringSubmatch(line); m != nil {
			keys[table] = append(keys[table], m[1])
		}
	}
	return keys
}

func TestAllFaultsAtOnce(t *testing.T) {
	file := write(t, map[string]string{"keys.toml": "[[key]]\nsubject = \"a\"\n", "edge.toml": `[log]
level = "loud"
[[listener]]
address = "1936"
tls = "maybe"
origin = "nowhere"
proxy_protocol = ["unix", "10.0.0.0/33"]
unix_mode = 432
[[listener]]
address = "unix:"
unix_mode = "0888"
[tls]
source = "files"
client_ca = "missing-too.pem"
client_auth = "sometimes"
[[tls.certificate]]
cert = "missing.pem"
[[origin]]
servers = ["http://x", "127.0.0.1:1935"]
dial_timeout = "soon"
fourcc = ["hevc1"]
balance = "fair"
client_ip = "query:"
[[route]]
app = "["
[authz]
play = ["jwt", "nobody"]
deny_from = ["everywhere"]
jwt = 1
[[authz.signed]]
scheme = "rot13"
window = "x"
[limits]
connect_rate_per_ip = "often"
publish_bitrate = "8Mbps"
chunk_size = 1
streams_per_ip = -1
ban = "2y"
auth_failures = 3
[cluster]
redis = "redis://user:hunter2"
[admin]
listen = ":9936"
`})
	_, err := Load(file)
	list, ok := err.(fault.List)
	if !ok {
		t.Fatal(err)
	}
	at := map[string]bool{}
	for _, f := range list {
		at[filepath.Base(f.File)+" "+f.Key] = true
		if f.Problem == "" || f.Line == 0 {
			t.Errorf("%v has no line or says nothing", f)
		}
	}
	for _, key := range []string{"log.level", "listener.address", "listener.tls", "listener.origin", "listener.proxy_protocol", "listener.unix_mode",
		"tls.client_ca", "tls.client_auth", "origin.client_ip", "tls.certificate.cert", "tls.certificate.key",
		"origin.servers", "origin.dial_timeout", "origin.fourcc", "origin.balance", "route.app", "route.origin", "authz.play", "authz.deny_from", "authz.jwt", "authz.signed.scheme", "authz.signed.window", "authz.signed.secrets_file",
		"limits.connect_rate_per_ip", "limits.publish_bitrate", "limits.chunk_size", "limits.streams_per_ip", "limits.ban", "limits.auth_failures", "cluster.redis", "admin.listen"} {
		if !at["edge.toml "+key] {
			t.Errorf("no fault of %s in\n%v", key, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a password is told\n%v", err)
	}
	if !at["keys.toml hash"] {
		t.Errorf("the faults of keys.toml are not told\n%v", err)
	}
}

func TestRedis(t *testing.T) {
	const rest = "[[listener]]\n[[origin]]\n"
	for text, want := range map[string]string{
		rest:                               "",
		rest + "[cluster]\nredis = \"\"\n": "",
		rest + "[cluster]\nredis = \"redis://:pw@127.0.0.1:6379/1\"": "redis://:pw@127.0.0.1:6379/1",
		rest + "[cluster]\nredis_file = \"url\"":                     "rediss://from-a-file",
	} {
		c, err := Load(write(t, map[string]string{"edge.toml": text, "keys.toml": "", "url": "rediss://from-a-file\n"}))
		if err != nil || c.Redis.Reveal() != want {
			t.Errorf("%s: got %q, %v", text, c.Redis.Reveal(), err)
		}
		if err == nil && c.RedisTimeout != ratelimit.DefaultAdmitTimeout {
			t.Errorf("%s: a client waits for %v", text, c.RedisTimeout)
		}
	}
	for timeout, good := range map[string]bool{"9ms": false, "10ms": true, "4s": true, "5s": false} {
		c, err := Load(write(t, map[string]string{"edge.toml": rest + "[cluster]\ntimeout = \"" + timeout + "\"", "keys.toml": ""}))
		if good && (err != nil || c.RedisTimeout.String() != timeout) || !good && (err == nil || !strings.Contains(err.Error(), "cluster.timeout")) {
			t.Errorf("%s: got %v", timeout, err)
		}
	}
	_, err := Load(write(t, map[string]string{"edge.toml": rest + "[cluster]\nredis_file = \"url\"", "keys.toml": "", "url": "http://hunter2"}))
	if err == nil || !strings.Contains(err.Error(), "cluster.redis_file") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("got %v", err)
	}
}

func TestWhatMustBeThere(t *testing.T) {
	_, err := Load(write(t, map[string]string{"edge.toml": ""}))
	for _, want := range []string{"listener: there must be at least one", "origin: there must be at least one", "rtmps-edge key add"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
	_, err = Load(write(t, map[string]string{"edge.toml": least + "[tls]\nsource = \"files\"\n"}))
	if err == nil || !strings.Contains(err.Error(), "at least one [[tls.certificate]]") {
		t.Error(err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "edge.toml")); !os.IsNotExist(err) {
		t.Error(err)
	}
}

func TestNamesMustBeUnique(t *testing.T) {
	_, err := Load(write(t, map[string]string{"edge.toml": least + "[[listener]]\n[[origin]]\n"}))
	list, _ := err.(fault.List)
	if len(list) != 2 || list[0].Key != "listener.address" || list[1].Key != "origin.name" {
		t.Error(err)
	}
}

func TestValues(t *testing.T) {
	c := load(t, `
[log]
level = "trace"
format = "json"
[[listener]]
address = "127.0.0.1:0"
tls = "off"
origin = "b"
[tls]
profile = "modern"
self_signed_dir = "certs"
self_signed_names = ["edge.test"]
[[origin]]
name = "a"
servers = ["rtmps://a.example"]
[[origin]]
name = "b"
balance = "least"
health_every = "0"
chunk_size = 4096
message_size = "1MiB"
[[route]]
server = "*.EXAMPLE.com"
origin = "b"
[authz]
publish = ["open"]
play = ["open"]
publish_from = ["192.0.2.0/24", "2001:db8::1"]
[limits]
connections_per_ip = 0
connect_rate_per_ip = "0"
publish_bitrate = "8Mbit"
play_bitrate = 500000
chunk_size = 0
message_size = "0"
`)
	dir := filepath.Dir(c.File)
	switch {
	case c.Listeners[0].TLS != TLSOff, c.Listeners[0].Origin != "b", c.TLS.Profile != tlsconf.Modern,
		c.TLS.SelfSignedDir != filepath.Join(dir, "certs"), c.Origins[1].Balance != proxy.BalanceLeast, c.Origins[1].HealthEvery != 0,
		c.Origins[0].HealthEvery != 5*time.Second, c.Origins[1].MessageSize != 1<<20, c.Routes[0].Server != "*.example.com",
		c.Limits.PublishBitrate != 8_000_000, c.Limits.PlayBitrate != 500_000, c.Limits.RTMP.ChunkSize != 0xFFFFFF,
		c.Limits.RTMP.MessageSize != 16<<20, c.Limits.Admission.ConnectionsPerIP != 0, len(c.Authz.PublishFrom) != 2:
		t.Errorf("%+v", c)
	}
}

// A client is offered what every origin takes.
func TestCodecs(t *testing.T) {
	for text, want := range map[string][]string{
		``:                           {"*"},
		`fourcc = ["hvc1", "av01"]`:  {"hvc1", "av01"},
		"[[origin]]\nname = \"b\"\n": {"*"},
		`fourcc = []`:                {},
		"fourcc = [\"hvc1\", \"av01\"]\n[[origin]]\nname = \"b\"\nfourcc = [\"av01\", \"Opus\"]": {"av01"},
		"fourcc = [\"hvc1\"]\n[[origin]]\nname = \"b\"\n":                                        {"hvc1"},
		"[[origin]]\nname = \"b\"\nfourcc = [\"Opus\"]":                                          {"Opus"},
	} {
		c := load(t, "[authz]\npublish = [\"open\"]\n[[listener]]\n[[origin]]\n"+text)
		if got := c.Limits.RTMP.FourCC; !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestListeners(t *testing.T) {
	c := load(t, least+`
[[listener]]
address = "unix:run/../edge.sock"
proxy_protocol = ["unix"]
unix_mode = "0600"
[[listener]]
address = "unix:/run/edge.sock"
proxy_protocol = []
[[listener]]
address = "unix:@edge"
tls = "optional"
[[listener]]
address = "systemd:rtmps"
proxy_protocol = ["10.0.0.0/8", "::1"]
[[listener]]
address = "[::]:443"
`)
	want := []Listener{
		{Address: ":1936", TLS: TLSRequired, UnixMode: 0o660},
		{Address: "unix:" + filepath.Join(filepath.Dir(c.File), "edge.sock"), TLS: TLSRequired, UnixMode: 0o600, Balancers: proxy.Balancers{Unix: true}},
		{Address: "unix:/run/edge.sock", TLS: TLSRequired, UnixMode: 0o660},
		{Address: "unix:@edge", TLS: TLSOptional, UnixMode: 0o660},
		{Address: "systemd:rtmps", TLS: TLSRequired, UnixMode: 0o660, Balancers: proxy.Balancers{Networks: []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}}},
		{Address: "[::]:443", TLS: TLSRequired, UnixMode: 0o660},
	}
	for i, l := range c.Listeners {
		l.Line = 0
		if !reflect.DeepEqual(l, want[i]) {
			t.Errorf("%+v, want %+v", l, want[i])
		}
	}
	// The same socket, written differently.
	_, err := Load(write(t, map[string]string{"edge.toml": least + "[[listener]]\naddress = \"unix:a\"\n[[listener]]\naddress = \"unix:b/../a\"\n"}))
	if err == nil || !strings.Contains(err.Error(), "must not stand in two listeners") {
		t.Error(err)
	}
}

func TestClientCertificatesNeedAnAuthority(t *testing.T) {
	_, err := Load(write(t, map[string]string{"edge.toml": least + "[tls]\nclient_auth = \"required\"\n"}))
	if err == nil || !strings.Contains(err.Error(), "tls.client_ca: client_auth = \"required\" needs a PEM file") {
		t.Error(err)
	}
}

func TestResolve(t *testing.T) {
	if got, err := Resolve("{{ GetAllInterfaces | include \"type\" \"IPv4\" | include \"flags\" \"loopback\" | limit 1 | join \"address\" \" \" }}:443"); err != nil || got != "127.0.0.1:443" {
		t.Errorf("%q, %v", got, err)
	}
	for _, bad := range []string{"{{ NoSuchFunction }}:443", "{{ GetAllInterfaces | include \"name\" \"none\" | join \"address\" \" \" }}:443"} {
		if got, err := Resolve(bad); err == nil {
			t.Errorf("%s gives %q", bad, got)
		}
	}
}

func TestKeysFileIsFoundWhateverElseIsWrong(t *testing.T) {
	file := write(t, map[string]string{"edge.toml": "[log]\nlevel = 1\n[authz.keys]\nfile = \"other.toml\"\n"})
	if got := KeysFile(file); got != filepath.Join(filepath.Dir(file), "other.toml") {
		t.Error(got)
	}
	if got := KeysFile(filepath.Join("no", "edge.toml")); got != filepath.Join("no", "keys.toml") {
		t.Error(got)
	}
}

func FuzzParse(f *testing.F) {
	text, err := os.ReadFile("../edge.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(least)
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := Parse("edge.toml", []byte(text)); err == nil {
			return
		} else if _, ok := err.(fault.List); !ok {
			t.Errorf("%T", err)
		}
	})
}

func TestAdmin(t *testing.T) {
	if a := load(t, least).Admin; a.Listen != "127.0.0.1:9936" || !a.Token.Empty() {
		t.Errorf("%+v", a)
	}
	token := "0123456789abcdef"
	for _, c := range []struct{ text, token, key, problem string }{
		{`listen = ""`, "", "", ""},
		{`listen = "unix:run/x.sock"`, "", "", ""},
		{`listen = "[::1]:1"`, "", "", ""},
		{"listen = \":9936\"\ntoken_file = \"token\"", token + "\n", "", ""},
		{"token_file = \"token\"", token, "", ""},
		{`listen = ":9936"`, "", "admin.listen", "can be reached"},
		{`listen = "192.0.2.1:9936"`, "", "admin.listen", "can be reached"},
		{`listen = "systemd:x"`, "", "admin.listen", "can be reached"},
		{`listen = "nowhere"`, "", "admin.listen", "must be host:port"},
		{"token_file = \"token\"", "short", "admin.token_file", "at least 16"},
		{"token_file = \"token\"", "two words of some length", "admin.token_file", "one token"},
		{"token = \"0123456789abcdef\"", "", "", ""},
		{"token = \"tiny\"", "", "admin.token", "at least 16"},
		{"token_file = \"none\"", "", "admin.token_file", "there is no such file"},
	} {
		file := write(t, map[string]string{"edge.toml": least + "[admin]\n" + c.text + "\n", "token": c.token})
		cfg, err := Load(file)
		admin, err2 := AdminOf(file)
		if c.key == "" {
			if err != nil || err2 != nil {
				t.Errorf("%s: %v, %v", c.text, err, err2)
			} else if cfg.Admin.Listen != admin.Listen || !cfg.Admin.Token.Equal(admin.Token) || strings.Contains(c.text, "token") && admin.Token.Reveal() != token || strings.Contains(admin.Listen, "unix:run") {
				t.Errorf("%s: %+v, %+v", c.text, cfg.Admin, admin)
			}
			continue
		}
		for _, err := range []error{err, err2} {
			if err == nil || !strings.Contains(err.Error(), c.key) || !strings.Contains(err.Error(), c.problem) {
				t.Errorf("%s: %v", c.text, err)
			} else if strings.Contains(err.Error(), "short") || strings.Contains(err.Error(), "tiny") || strings.Contains(err.Error(), "two words") {
				t.Errorf("the token is told: %v", err)
			}
		}
	}
	// Whatever else is wrong, commands find the edge.
	if a, err := AdminOf(write(t, map[string]string{"edge.toml": "[[listener]]\naddress = 5\n[admin]\nlisten = \"127.0.0.1:1\"\n"})); err != nil || a.Listen != "127.0.0.1:1" {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestListenersAreFoundWhateverElseIsWrong(t *testing.T) {
	for text, want := range map[string][]Listener{
		"[[listener]]\naddress = \":443\"\nnonsense = 1\n[[listener]]\n[limits]\nx = 1\n": {{Address: ":443", TLS: TLSRequired}, {Address: ":1936", TLS: TLSRequired}},
		"[[listener]]\naddress = 5\ntls = \"off\"\n":                                      {{Address: ":1936", TLS: TLSOff}},
		"[[listener]": nil,
		"":            nil,
	} {
		if got := ListenersOf(write(t, map[string]string{"edge.toml": text})); !reflect.DeepEqual(got, want) {
			t.Errorf("%q: %+v, want %+v", text, got, want)
		}
	}
	if got := ListenersOf("none.toml"); got != nil {
		t.Errorf("%+v", got)
	}
}

// What is wrong with certificates is told where they are named; so are names
// that have no certificate.
func TestPlacesOfCertificates(t *testing.T) {
	c := load(t, "[tls]\nself_signed_names = [\"a.test\"]\n[[listener]]\naddress = \"edge.test:1936\"\n[[origin]]\n[[route]]\norigin = \"main\"\nserver = \"*.b.test\"\n"+
		"[[route]]\norigin = \"main\"\nserver = \"c*.test\"\n[[route]]\norigin = \"main\"\napp = \"x\"\n[authz]\npublish = [\"open\"]\n")
	names := []string{}
	for _, d := range c.Dialed {
		names = append(names, d.Name)
	}
	if got := strings.Join(names, " "); got != "edge.test *.b.test" {
		t.Error(got)
	}
	for want, got := range map[string]fault.Fault{
		`edge.toml:4: listener.address = "edge.test:1936": x`: c.FaultOfName("edge.test", "x"),
		`edge.toml:8: route.server = "*.b.test": x`:           c.FaultOfName("*.b.test", "x"),
		"edge.toml:2: tls.self_signed_names: x":               c.FaultOfCertificate(0, "x"),
		"edge.toml:2: tls.self_signed_names: y":               c.FaultOfName("elsewhere.test", "y"),
	} {
		if filepath.Base(got.String()) != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	c = load(t, least+"[tls]\nsource = \"autocert\"\n[tls.acme]\nstorage = \".\"\ndomains = [\"a.test\"]\n")
	if got := filepath.Base(c.FaultOfCertificate(0, "x").String()); got != "edge.toml:9: tls.acme.domains: x" {
		t.Error(got)
	}
}

func TestNotify(t *testing.T) {
	c := load(t, least+"[[notify]]\nurl = \"http://127.0.0.1:1/\"\n[[notify]]\nurl = \"https://x.example/?token=y\"\nevents = [\"banned\"]\nsecret = \"s\"\n"+
		"[[notify]]\nurl = \"http://127.0.0.1:1/\"\ndialect = \"srs\"\nsecret = \"t\"\n")
	if n := c.Notify; len(n) != 3 || n[2].Dialect != "srs" || n[2].Secret.Reveal() != "t" || len(n[0].Events) != 2 || n[0].Dialect != "native" || n[1].Events[0] != "banned" || n[1].Secret.Reveal() != "s" {
		t.Errorf("%+v", n)
	}
	_, err := Load(write(t, map[string]string{"edge.toml": least + "[[notify]]\n[[notify]]\nurl = \"ftp://secret@x\"\nevents = [\"refused\", \"all\"]\ndialect = \"srs\"\nsecret = \"very-secret\"\n"}))
	for _, want := range []string{"notify.url: must be an http or https URL", "notify.events = \"refused\": can be told in the native dialect only", "notify.events = \"all\""} {
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%q is not in\n%v", want, err)
		}
	}
}
