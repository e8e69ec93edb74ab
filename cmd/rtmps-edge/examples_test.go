package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"rtmps-edge/tlsconf"
)

// Every example runs as it is, but for its addresses, and publishes by key.
func TestExamplesRun(t *testing.T) {
	t.Parallel()
	folders, err := filepath.Glob("../../examples/*/edge.toml")
	if err != nil || len(folders) < 3 {
		t.Fatalf("%d examples, %v", len(folders), err)
	}
	for _, file := range folders {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			t.Parallel()
			if _, err := os.Stat(filepath.Join(filepath.Dir(file), "README.md")); err != nil {
				t.Error(err)
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			runExample(t, string(text))
		})
	}
}

var (
	listenLine = regexp.MustCompile(`(?m)^address *= *".*"`)
	serverLine = regexp.MustCompile(`(?m)^servers *= *\[.*\]`)
	fromLine   = regexp.MustCompile(`(?m)^publish_from *= *\[`)
)

func runExample(t *testing.T, text string) {
	text = listenLine.ReplaceAllString(text, `address = "127.0.0.1:0"`)
	text = serverLine.ReplaceAllString(text, `servers = ["ORIGIN"]`)
	text = fromLine.ReplaceAllString(text, `publish_from = ["127.0.0.1", `)
	s := newSite(t, text, func(dir string) {
		if strings.Contains(text, `source = "files"`) {
			writePair(t, dir)
		}
	})
	p := s.mustPublish("127.0.0.1:0", true)
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}
	s.logs.wait(t, 1, "stream ended", "subject=alice")
}

// writePair makes fullchain.pem and privkey.pem in dir.
func writePair(t *testing.T, dir string) {
	t.Helper()
	certs := filepath.Join(dir, "made")
	if _, err := tlsconf.NewSelfSigned(tlsconf.SelfSignedConfig{Dir: certs, Names: []string{"edge.test"}}); err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{"leaf.pem": "fullchain.pem", "leaf-key.pem": "privkey.pem"} {
		if err := os.Rename(filepath.Join(certs, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
}
