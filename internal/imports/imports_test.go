// Package imports holds the source against the table of the architecture:
// which package may import which. It reads the files themselves: what the go
// command says inside a test comes from its cache.
package imports

import (
	"bufio"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// internalOnly stands for packages that may import nothing of ours but
// internal/…, which every package may.
var internalOnly = []string{}

// anything is for packages that put the others together.
var anything = []string{"…"}

// table says what each top-level package, and those below it, may import
// beside internal/… and what is below itself. A package that is not in it may
// not exist: whoever adds one decides here what it may know.
var table = map[string][]string{
	"rtmp":           internalOnly,
	"ratelimit":      internalOnly,
	"tlsconf":        internalOnly,
	"internal":       internalOnly,
	"rtmp/rtmptest":  {"rtmp"},
	"authz":          internalOnly,
	"proxy":          {"rtmp", "authz", "ratelimit"},
	"metrics":        {"proxy"},
	"notify":         {"proxy"},
	"admin":          {"proxy"},
	"config":         {"rtmp", "authz", "ratelimit", "tlsconf", "proxy", "metrics", "notify", "admin"},
	"cmd/rtmps-edge": anything,
	// They run the whole program against others, and are no part of it.
	"e2e":       anything,
	"bench":     anything,
	"examples":  anything,
	"packaging": internalOnly,
	// The files in the root are tests of what lies there, as edge.toml.
	".": anything,
}

// testOnly are for tests of any package; the program must not hold them.
var testOnly = []string{"rtmp/rtmptest", "internal/corpus"}

// alsoTests may import for their own use: what sits on proxy is tested with
// sessions, and those need an authorizer.
var alsoTests = map[string][]string{"metrics": {"authz"}, "notify": {"authz"}, "admin": {"authz"}}

// file is one Go file and what it imports of ours, both without the module's
// own path.
type file struct {
	path    string
	imports []string
}

func (f file) dir() string  { return path.Dir(f.path) }
func (f file) isTest() bool { return strings.HasSuffix(f.path, "_test.go") }

func TestImports(t *testing.T) {
	files := readAll(t, "../..")
	if len(files) < 50 {
		t.Fatalf("only %d files were found", len(files))
	}
	for _, f := range files {
		for _, err := range breaches(f) {
			t.Error(err)
		}
	}
}

// TestBreachesAreFound keeps the test above from passing for nothing.
func TestBreachesAreFound(t *testing.T) {
	for _, c := range []struct {
		path, imports string
		want          bool
	}{
		{"proxy/server.go", "rtmp", false},
		{"proxy/server.go", "internal/wire", false},
		{"proxy/server.go", "tlsconf", true},
		{"proxy/server.go", "config", true},
		{"proxy/server.go", "rtmp/rtmptest", true},
		{"proxy/server_test.go", "rtmp/rtmptest", false},
		{"proxy/server_test.go", "config", true},
		{"authz/keys.go", "rtmp", true},
		{"authz/webhook/post.go", "internal/secret", false},
		{"authz/webhook/post.go", "proxy", true},
		{"authz/keys.go", "authz/webhook", false},
		{"rtmp/accept.go", "internal/corpus", true},
		{"rtmp/rtmptest/peer.go", "rtmp", false},
		{"rtmp/rtmptest/peer.go", "proxy", true},
		{"metrics/hear.go", "proxy", false},
		{"metrics/hear.go", "admin", true},
		{"admin/api.go", "config", true},
		{"admin/api.go", "authz", true},
		{"admin/api_test.go", "authz", false},
		{"cmd/rtmps-edge/run.go", "config", false},
		{"cmd/rtmps-edge/internal/demo/demo.go", "proxy", false},
		{"cmd/rtmps-edge/run.go", "rtmp/rtmptest", true},
		{"internal/wire/tls.go", "rtmp", true},
		{"newpackage/x.go", "internal/wire", true},
		{"config/config.go", "cmd/rtmps-edge/internal/demo", true},
	} {
		if got := len(breaches(file{c.path, []string{c.imports}})) > 0; got != c.want {
			t.Errorf("%s importing %s: a breach is %v", c.path, c.imports, got)
		}
	}
}

// breaches says what f may not import.
func breaches(f file) (errs []string) {
	owner := ownerOf(f.dir())
	allowed, ok := table[owner]
	if !ok {
		return []string{f.path + ": the package is not in the table"}
	}
	for _, imp := range f.imports {
		if !may(f, owner, allowed, imp) {
			errs = append(errs, f.path+" must not import "+imp)
		}
	}
	return errs
}

func may(f file, owner string, allowed []string, imp string) bool {
	to := ownerOf(imp)
	program := !f.isTest() && (owner != "rtmp/rtmptest" && owner != "e2e" && owner != "bench")
	switch {
	case slices.Contains(testOnly, imp):
		return !program
	case strings.HasPrefix(imp, "cmd/"):
		return owner == "cmd/rtmps-edge"
	case to == owner || to == "internal":
		return true
	case slices.Equal(allowed, anything):
		return true
	case f.isTest() && slices.Contains(alsoTests[owner], to):
		return true
	}
	return slices.Contains(allowed, to)
}

// ownerOf returns the table's line for a package: the longest that it is, or
// lies below.
func ownerOf(dir string) string {
	for d := dir; ; d = path.Dir(d) {
		if _, ok := table[d]; ok && (d != "." || dir == ".") {
			return d
		}
		if d == "." || d == "/" {
			return dir
		}
	}
}

// readAll parses the imports of every Go file below root.
func readAll(t *testing.T, root string) (files []file) {
	t.Helper()
	module := moduleOf(t, root)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		list, err := importsOf(name, module)
		files = append(files, file{filepath.ToSlash(rel), list})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// importsOf returns the imports of one file that are the module's own.
func importsOf(name, module string) (list []string, err error) {
	f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	for _, s := range f.Imports {
		p, err := strconv.Unquote(s.Path.Value)
		if err != nil {
			return nil, err
		}
		if own, ok := strings.CutPrefix(p, module+"/"); ok {
			list = append(list, own)
		}
	}
	return list, nil
}

// moduleOf reads the module's path.
func moduleOf(t *testing.T, root string) string {
	t.Helper()
	f, err := os.Open(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	for s := bufio.NewScanner(f); s.Scan(); {
		if name, ok := strings.CutPrefix(s.Text(), "module "); ok {
			return strings.TrimSpace(name)
		}
	}
	t.Fatal("go.mod without a module")
	return ""
}
