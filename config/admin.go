package config

import (
	"fmt"
	"strings"

	"github.com/sirupsen/logrus"

	"rtmps-edge/admin"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/tomlfile"
	"rtmps-edge/notify"
)

// Admin says where the edge is steered from, and who may.
type Admin struct {
	Listen string // as Listener.Address; "" = nowhere
	Token  secret.Text
}

func (c *Config) readAdmin(t *tomlfile.Table) {
	c.Admin.read(t)
	t.End()
}

func (a *Admin) read(t *tomlfile.Table) {
	t.String("listen", &a.Listen)
	a.readToken(t)
	if a.Listen == "" {
		return
	}
	if err := validAddress(a.Listen); err != nil {
		t.Fault("listen", err.Error())
		return
	}
	a.Listen = absolute(t, a.Listen)
	resolved, err := Resolve(a.Listen)
	if err == nil && !admin.Private(resolved) && !t.Has("token_file") && a.Token.Empty() {
		t.Fault("listen", "can be reached from other machines, and must not be without a token_file: make one with \"openssl rand -hex 32 > admin.token\"")
	}
}

func (a *Admin) readToken(t *tomlfile.Table) {
	t.Secret("token", &a.Token)
	key, token := "token_file", a.Token.Reveal()
	if t.Has("token") {
		key = "token"
	}
	switch {
	case token == "":
	case len(token) < admin.MinToken:
		t.Fault(key, fmt.Sprintf("must hold a token of at least %d characters: make one with \"openssl rand -hex 32 > admin.token\"", admin.MinToken))
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		t.Fault(key, "must hold one token, of letters, digits and signs without spaces")
	}
}

// AdminOf returns where the edge that runs with file is steered from, whatever
// else is wrong with the file. The error is a fault.List, or that of reading it.
func AdminOf(file string) (Admin, error) {
	a := Default().Admin
	data, err := readfile.Read(file, MaxFile)
	if err != nil {
		return a, err
	}
	t, err := tomlfile.Parse(file, data)
	if err != nil {
		return a, err
	}
	table := t.Table("admin")
	a.read(table)
	table.End()
	return a, t.Err()
}

// readNotify reads one [[notify]].
func (c *Config) readNotify(t *tomlfile.Table) {
	n := notify.Config{Events: []string{notify.StreamStarted, notify.StreamEnded}, Dialect: notify.Native}
	t.String("url", &n.URL)
	t.Strings("events", &n.Events)
	tomlfile.OneOf(t, "dialect", &n.Dialect, notify.Dialects()...)
	t.Secret("secret", &n.Secret)
	readBundle(t, "ca", &n.CA)
	t.End()
	_, err := notify.New(n, notify.Options{Log: logrus.New()})
	t.Adopt(err)
	c.Notify = append(c.Notify, n)
}
