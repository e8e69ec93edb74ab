// Package packaging has the tests of what lies here and is no Go: those of the
// packages themselves are in e2e.
package packaging

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// instruction is one of a Dockerfile, its lines joined.
type instruction struct{ name, args string }

func dockerfile(t *testing.T) (list []instruction) {
	t.Helper()
	text, err := os.ReadFile("docker/Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	joined := regexp.MustCompile(`\\\n\s*`).ReplaceAllString(string(text), "")
	for line := range strings.Lines(joined) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		name, args, _ := strings.Cut(line, " ")
		list = append(list, instruction{name, args})
	}
	return list
}

// last is the argument of the last instruction of that name.
func last(list []instruction, name string) string {
	for _, i := range slices.Backward(list) {
		if i.name == name {
			return i.args
		}
	}
	return ""
}

// The image is the program alone, run by nobody.
func TestDockerfile(t *testing.T) {
	list := dockerfile(t)
	if got := last(list, "FROM"); got != "scratch" {
		t.Errorf("the image is made from %q", got)
	}
	if got := last(list, "USER"); !regexp.MustCompile(`^[1-9]\d*:[1-9]\d*$`).MatchString(got) {
		t.Errorf("USER %q is not a number that Kubernetes can see is not root", got)
	}
	for _, name := range []string{"ENTRYPOINT", "CMD", "HEALTHCHECK"} {
		var words []string
		args := last(list, name)
		if _, command, ok := strings.Cut(args, " CMD "); ok {
			args = command
		}
		if err := json.Unmarshal([]byte(args), &words); err != nil || len(words) == 0 {
			t.Errorf("%s needs a shell, which is not there: %v", name, err)
		}
	}
	for _, i := range list {
		if !slices.Contains([]string{"FROM", "WORKDIR", "COPY", "ARG", "RUN", "LABEL", "VOLUME", "USER", "EXPOSE", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}, i.name) {
			t.Errorf("%s %s", i.name, i.args)
		}
		if i.name != "COPY" || strings.Contains(i.args, "--from=") {
			continue
		}
		words := strings.Fields(i.args)
		for _, f := range words[:len(words)-1] {
			if _, err := os.Stat(filepath.Join("..", f)); err != nil {
				t.Error(err)
			}
		}
	}
}

// The builder gets what the program is made of, and neither the history nor what
// lies beside somebody's configuration.
func TestDockerignore(t *testing.T) {
	text, err := os.ReadFile("../.dockerignore")
	if err != nil {
		t.Fatal(err)
	}
	var lines, sent []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		lines = append(lines, line)
		if dir, ok := strings.CutPrefix(line, "!"); ok {
			sent = append(sent, dir)
		}
	}
	if len(lines) == 0 || lines[0] != "*" {
		t.Fatal("it must begin by leaving out everything")
	}
	for _, dir := range sent {
		if _, err := os.Stat(filepath.Join("..", dir)); err != nil {
			t.Error(err)
		}
	}
	list := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{if .Module.Main}}{{.ImportPath}}{{end}}{{end}}", "./cmd/rtmps-edge", "./packaging/sbom")
	list.Dir = ".."
	out, err := list.Output()
	if err != nil {
		t.Fatal(err)
	}
	needed := strings.Fields(string(out))
	if len(needed) < 10 {
		t.Errorf("only %q are needed", needed)
	}
	for _, pkg := range needed {
		dir := strings.TrimPrefix(pkg, "rtmps-edge/")
		if !slices.ContainsFunc(sent, func(s string) bool { return dir == s || strings.HasPrefix(dir, s+"/") }) {
			t.Errorf(".dockerignore leaves out %s, which the program needs", dir)
		}
	}
}

// The image is built with the Go that go.mod asks for.
func TestDockerfileGo(t *testing.T) {
	text, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	want := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(string(text))
	if got := dockerfile(t)[0].args; want == nil || !strings.HasPrefix(got, "golang:"+want[1]+"-") {
		t.Errorf("FROM %s, and go.mod has %q", got, want)
	}
}
