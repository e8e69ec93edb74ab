package main

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// kind is one of the programs that are compared.
type kind struct {
	name     string
	binary   string
	packages []string // of Debian
	version  []string // arguments that print it
	files    func(site) map[string]string
	args     func(site) []string
	env      []string
	edge     bool
}

// site is what a configuration is made of.
type site struct {
	dir            string
	listen, origin string // host:port
	admin          string // the same, of the edge; "" = none
	wants
}

// wants is what a scenario wants of the edge.
type wants struct {
	keys   int  // it knows so many stream keys; 0 = everybody may publish
	limits bool // it keeps to the limits that it has by itself, and to floodLimits
	look   bool // it can be looked at
}

const ciphersuite = "TLS_AES_128_GCM_SHA256"

// The configurations are what an operator who wants speed writes: one worker,
// no tickets, no logs per connection, TCP_NODELAY, the cheap cipher suite.

var nginx = kind{
	name: "nginx", binary: "nginx", packages: []string{"nginx-light", "libnginx-mod-stream"},
	version: []string{"-v"},
	args:    func(s site) []string { return []string{"-p", s.dir, "-e", "error.log", "-c", "nginx.conf"} },
	files: func(s site) map[string]string {
		return map[string]string{"nginx.conf": fmt.Sprintf(`
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
user root;
daemon off;
master_process off;
worker_processes 1;
pid nginx.pid;
error_log error.log error;
events { worker_connections 8192; }
stream {
  access_log off;
  server {
    listen %s ssl backlog=1024;
    ssl_certificate cert.pem;
    ssl_certificate_key key.pem;
    ssl_protocols TLSv1.3;
    ssl_conf_command Ciphersuites %s;
    ssl_ecdh_curve X25519;
    ssl_session_tickets off;
    ssl_session_cache off;
    tcp_nodelay on;
    proxy_buffer_size %s;
    proxy_timeout 1h;
    proxy_pass %s;
  }
}
`, s.listen, ciphersuite, nginxBuffer, s.origin)}
	},
}

// nginxBuffer is nginx's own value. A larger one makes it faster, for memory
// that every connection then holds (docs/performance.md).
var nginxBuffer = "16k"

var haproxy = kind{
	name: "haproxy", binary: "haproxy", packages: []string{"haproxy"},
	version: []string{"-v"},
	args:    func(s site) []string { return []string{"-db", "-C", s.dir, "-f", "haproxy.cfg"} },
	files: func(s site) map[string]string {
		return map[string]string{"haproxy.cfg": fmt.Sprintf(`
global
  maxconn 8192
  nbthread 1
  ssl-default-bind-ciphersuites %s
  ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets
defaults
  mode tcp
  timeout connect 3s
  timeout client 1h
  timeout server 1h
listen rtmps
  bind %s ssl crt both.pem curves X25519 backlog 1024
  server origin %s
`, ciphersuite, s.listen, s.origin)}
	},
}

var stunnel = kind{
	name: "stunnel", binary: "stunnel", packages: []string{"stunnel4"},
	version: []string{"-version"},
	args:    func(s site) []string { return []string{s.dir + "/stunnel.conf"} },
	files: func(s site) map[string]string {
		return map[string]string{"stunnel.conf": fmt.Sprintf(`
foreground = yes
debug = 3
syslog = no
output = %[1]s/error.log
pid =
socket = l:TCP_NODELAY=1
socket = r:TCP_NODELAY=1
[rtmps]
accept = %[2]s
connect = %[3]s
cert = %[1]s/cert.pem
key = %[1]s/key.pem
sslVersionMin = TLSv1.3
ciphersuites = %[4]s
curves = X25519
options = NO_TICKET
TIMEOUTidle = 3600
`, s.dir, s.listen, s.origin, ciphersuite)}
	},
}

// gocopy is crypto/tls with io.Copy, the baseline of what Go does by itself.
var gocopy = kind{
	name: "gocopy", binary: "", // this program
	args: func(s site) []string {
		return []string{"-serve-gocopy", s.listen + "," + s.origin + "," + s.dir}
	},
	files: func(site) map[string]string { return nil },
	env:   []string{"GOMAXPROCS=1"},
}

func edge(name, binary string) kind {
	return kind{
		name: name, binary: binary, version: []string{"version"},
		edge:  true,
		args:  func(s site) []string { return []string{"run", "-c", s.dir + "/edge.toml"} },
		files: edgeFiles,
		env:   []string{"GOMAXPROCS=1"},
	}
}

func edgeFiles(s site) map[string]string {
	publish := "open"
	files := map[string]string{}
	if s.keys > 0 {
		publish = "keys"
		files["keys.toml"] = keysFile(s.keys)
	}
	limits := noLimits
	if s.limits {
		limits = floodLimits
	}
	files["edge.toml"] = fmt.Sprintf(`
[log]
level = "warn"
[[listener]]
address = %q
[tls]
source = "files"
[[tls.certificate]]
cert = "cert.pem"
key = "key.pem"
[[origin]]
name = "main"
servers = [%q]
[authz]
publish = [%q]
play = ["open"]
[limits]
%s
[admin]
listen = %q
`, s.listen, s.origin, publish, limits, s.admin)
	return files
}

// noLimits is for all load from one address.
const noLimits = `connections_per_ip = 0
streams_per_ip = 0
streams_per_subject = 0
connect_rate_per_ip = "0"
idle_timeout = "0"`

// keyName is the granted name of a key, keyText the key.
func keyName(i int) string { return fmt.Sprintf("key-%d", i) }
func keyText(i int) string { return fmt.Sprintf("bench-key-%d-0123456789abcdef", i) }

func keysFile(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "[[key]]\nsubject = %q\nname = %q\napp = \"live\"\nactions = [\"publish\"]\nhash = \"sha256:%x\"\n\n",
			keyName(i), keyName(i), sha256.Sum256([]byte(keyText(i))))
	}
	return b.String()
}
