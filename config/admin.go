package config

import (
	"bytes"
	"fmt"
	"strings"

	"rtmps-edge/admin"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
	"rtmps-edge/internal/tomlfile"
)

// maxToken is the largest token file, in bytes.
const maxToken = 4 << 10

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
	file := ""
	t.File("token_file", &file)
	if file != "" {
		a.readToken(t, file)
	}
	if a.Listen == "" {
		return
	}
	if err := validAddress(a.Listen); err != nil {
		t.Fault("listen", err.Error())
		return
	}
	a.Listen = absolute(t, a.Listen)
	resolved, err := Resolve(a.Listen)
	if err == nil && !admin.Private(resolved) && file == "" {
		t.Fault("listen", "can be reached from other machines, and must not be without a token_file: make one with \"openssl rand -hex 32 > admin.token\"")
	}
}

func (a *Admin) readToken(t *tomlfile.Table, file string) {
	b, err := readfile.Read(file, maxToken)
	if err != nil {
		return // t.File has told
	}
	token := string(bytes.TrimSpace(b))
	switch {
	case len(token) < admin.MinToken:
		t.Fault("token_file", fmt.Sprintf("must hold a token of at least %d characters: make one with \"openssl rand -hex 32 > admin.token\"", admin.MinToken))
	case strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }):
		t.Fault("token_file", "must hold one token, of letters, digits and signs without spaces")
	}
	a.Token = secret.New(token)
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
