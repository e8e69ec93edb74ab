package e2e

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// HAProxy passes TLS on by the name that is asked for, as docs/recipes.md has it:
// an encoder comes to the edge, everybody else to the web server.
func TestSharedPort(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/recipes.md")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`(?s)<!-- haproxy -->\n\n(.*?)\n\n` + "```").FindSubmatch(page)
	if m == nil {
		t.Fatal("docs/recipes.md has no configuration of HAProxy")
	}
	origin, key := startNginx(t), newKey("alice")
	e := startEdge(t, settings{Origin: origin.address(), Listener: `proxy_protocol = ["127.0.0.1"]`}, key)
	web, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = web.Close() })
	arrived := make(chan byte, 16)
	go func() {
		for {
			c, err := web.Accept()
			if err != nil {
				return
			}
			first := make([]byte, 1)
			_, err = io.ReadFull(c, first)
			_ = c.Close()
			if err == nil { // somebody who says something
				arrived <- first[0]
			}
		}
	}()
	shared := freeAddress(t)
	config := filepath.Join(t.TempDir(), "haproxy.cfg")
	writeFile(t, config, strings.NewReplacer("bind :443", "bind "+shared, "live.example.com", "localhost",
		"127.0.0.1:1936", "127.0.0.1:"+e.port, "127.0.0.1:8443", web.Addr().String()).Replace(string(m[1]))+"\n")
	proxy := startProgram(t, "haproxy", "-db", "-f", config)
	eventually(t, "HAProxy to listen", func() error {
		proxy.mustLive(t)
		c, err := net.Dial("tcp", shared)
		if err == nil {
			_ = c.Close()
		}
		return err
	})

	_, port, _ := net.SplitHostPort(shared)
	publishFFmpeg(t, "rtmps://localhost:"+port+"/live", key.text)
	published(t, origin, "live/"+key.name)
	other := startProgram(t, "ffmpeg", "-hide_banner", "-nostdin", "-i", "rtmps://127.0.0.1:"+port+"/live/x", "-f", "null", "-")
	select {
	case b := <-arrived:
		if b != 0x16 { // of a TLS record with a ClientHello
			t.Errorf("the web server gets %#x", b)
		}
	case <-time.After(patience):
		t.Error("nobody comes to the web server")
	}
	other.exit(t)
}
