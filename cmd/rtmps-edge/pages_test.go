package main

import (
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var updateDocs = flag.Bool("docs", false, "write the tables of docs/configuration.md anew")

// keyTable is one of edge.toml, with its keys in their order.
type keyTable struct {
	name string // as "[limits]" or "[[origin]]"
	note string // what stands beside it
	off  bool   // it is a comment: not there by default
	keys []tableKey
}

type tableKey struct{ name, value, meaning string }

var (
	tableLine = regexp.MustCompile(`^(# )?(\[\[?[a-z.]+\]\]?)(?:\s+# (.*))?$`)
	keyLine   = regexp.MustCompile(`^(?:# )?([a-z_]+)\s+= ("[^"]*"|\[[^\]]*\]|\S+)\s+# (.*)$`)
)

// tables reads edge.toml by its look.
func tables(t *testing.T) (list []keyTable) {
	t.Helper()
	text, err := os.ReadFile("../../edge.toml")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if m := tableLine.FindStringSubmatch(line); m != nil {
			list = append(list, keyTable{name: m[2], note: m[3], off: m[1] != ""})
			continue
		}
		m := keyLine.FindStringSubmatch(line)
		switch {
		case m != nil && len(list) > 0:
			last := &list[len(list)-1]
			last.keys = append(last.keys, tableKey{m[1], m[2], m[3]})
		case line != "" && line[0] != '#', len(list) > 0 && line != "":
			t.Errorf("edge.toml: %q is neither a table nor a key with a comment", line)
		}
	}
	return list
}

func (t keyTable) markdown() string {
	var b strings.Builder
	b.WriteString("<!-- keys -->\n\n")
	if t.note != "" {
		b.WriteString(sentence(t.note) + "\n\n")
	}
	column := "default"
	if t.off {
		b.WriteString("Not there by default; where a key has a default, it is the value here.\n\n")
		column = "value"
	}
	fmt.Fprintf(&b, "| key | %s | |\n|---|---|---|\n", column)
	for _, k := range t.keys {
		fmt.Fprintf(&b, "| `%s` | `%s` | %s |\n", k.name, strings.ReplaceAll(k.value, "|", `\|`), strings.ReplaceAll(k.meaning, "|", `\|`))
	}
	b.WriteString("\n<!-- end of keys -->")
	return b.String()
}

// sentence makes one of a comment.
func sentence(s string) string {
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

var keysBlock = regexp.MustCompile(`(?s)<!-- keys -->(?:\n\n.*?<!-- end of keys -->)?`)

// docs/configuration.md has every table of edge.toml in its order, with every key.
func TestConfigurationPage(t *testing.T) {
	const page = "../../docs/configuration.md"
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	rest := string(text)
	for _, table := range tables(t) {
		heading := regexp.MustCompile(`(?m)^###? ` + regexp.QuoteMeta(table.name) + `$`).FindStringIndex(rest)
		if heading == nil {
			t.Fatalf("docs/configuration.md has no heading %s here: it needs one, with \"<!-- keys -->\" below it, in the order of edge.toml", table.name)
		}
		block := keysBlock.FindStringIndex(rest[heading[1]:])
		if block == nil {
			t.Fatalf("docs/configuration.md has no \"<!-- keys -->\" below %s", table.name)
		}
		want.WriteString(rest[:heading[1]+block[0]] + table.markdown())
		rest = rest[heading[1]+block[1]:]
	}
	want.WriteString(rest)
	if want.String() == string(text) {
		return
	}
	if *updateDocs {
		if err := os.WriteFile(page, []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Error("docs/configuration.md is not what edge.toml says: make docs")
}

// pages are all that people read, from the top of the checkout.
func pages(t *testing.T) (list []string) {
	t.Helper()
	top := "../.."
	err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != top && (strings.HasPrefix(d.Name(), ".") || d.Name() == "dist" || d.Name() == "testdata"):
			return filepath.SkipDir
		case strings.HasSuffix(path, ".md"):
			list = append(list, path)
		}
		return nil
	})
	if err != nil || len(list) < 10 {
		t.Fatalf("%d pages, %v", len(list), err)
	}
	return list
}

var (
	link     = regexp.MustCompile(`\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)`)
	heading  = regexp.MustCompile(`(?m)^#+ (.+)$`)
	codeLine = regexp.MustCompile("(?ms)^```.*?^```$|`[^`\n]*`")
)

// Every link between pages leads somewhere.
func TestLinks(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(codeLine.ReplaceAllString(string(text), ""), -1) {
			if strings.Contains(m[1], "://") || strings.HasPrefix(m[1], "mailto:") {
				continue
			}
			n++
			if err := leads(page, m[1]); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
	if n < 30 {
		t.Errorf("only %d links", n)
	}
}

// leads follows a link of page.
func leads(page, to string) error {
	file, anchor, _ := strings.Cut(to, "#")
	target := page
	if file != "" {
		target = filepath.Join(filepath.Dir(page), file)
	}
	info, err := os.Stat(target)
	if err != nil || anchor == "" {
		return err
	}
	if info.IsDir() {
		return fmt.Errorf("%s is a directory and has no headings", to)
	}
	text, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	for _, m := range heading.FindAllStringSubmatch(string(text), -1) {
		if anchorOf(m[1]) == anchor {
			return nil
		}
	}
	return fmt.Errorf("no heading is %s", to)
}

// anchorOf is what GitHub makes of a heading.
func anchorOf(heading string) string {
	s := strings.ToLower(strings.ReplaceAll(heading, "`", ""))
	s = regexp.MustCompile(`[^\p{L}\p{N} _-]`).ReplaceAllString(s, "")
	return strings.ReplaceAll(s, " ", "-")
}

// commandLine is our program in a code block, or in a code span.
var commandLine = regexp.MustCompile("(?m)(?:^(?:    |```\\w*\n)?|`|\\| )(?:\\./)?rtmps-edge ([a-z][^`|<>#\n]*)")

// phrases are where the program's sources name reasons, by file and pattern.
var phrases = []struct{ files, pattern string }{
	{"../../proxy/*.go", `reason:\s+"([^"]+)"`},
	{"../../proxy/*.go", `[rR]eason\w*(?:, \w+\.err)?\s+= "([^"]+)"`},
	{"../../proxy/*.go", `stop\(Side\w+, "([^"]+)"`},
	{"../../proxy/refuse.go", `(?m)^\t(?:\t)?return "([a-z ]+)"$`},
	{"../../ratelimit/*.go", `(?:Reason|Why)\w+\s+= "([^"]+)"`},
	{"../../internal/hello/cause.go", `Cause\s+= "([^"]+)"`},
}

// docs/operating.md explains every reason that a log line can have.
func TestReasonsAreExplained(t *testing.T) {
	page, err := os.ReadFile("../../docs/operating.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	for _, p := range phrases {
		files, err := filepath.Glob(p.files)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v", p.files, err)
		}
		before := len(seen)
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range regexp.MustCompile(p.pattern).FindAllStringSubmatch(string(text), -1) {
				seen[m[1]] = true
			}
		}
		if len(seen) == before {
			t.Errorf("nothing is found by %s in %s any more", p.pattern, p.files)
		}
	}
	for reason := range seen {
		if !strings.Contains(string(page), "`"+reason+"`") {
			t.Errorf("docs/operating.md does not explain the reason `%s`", reason)
		}
	}
}

// Every command line that the pages show is one of the program's, with its flags.
func TestCommandsInPages(t *testing.T) {
	n := 0
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range commandLine.FindAllStringSubmatch(string(text), -1) {
			if strings.Contains(m[1], "…") {
				continue // something else than a command line
			}
			n++
			if err := understood(strings.Fields(m[1])); err != nil {
				t.Errorf("%s: rtmps-edge %s: %v", page, m[1], err)
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d command lines", n)
	}
}

func understood(words []string) error {
	c, rest, err := whole().Find(words)
	if err != nil {
		return err
	}
	if c.HasSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") {
		return fmt.Errorf("%s has no %q", c.CommandPath(), rest[0])
	}
	c.InitDefaultHelpFlag()
	for _, w := range rest {
		name, _, _ := strings.Cut(w, "=")
		if err := hasFlag(c, name); err != nil {
			return err
		}
	}
	return nil
}

func hasFlag(c *cobra.Command, word string) error {
	word = strings.TrimRight(word, ".,;:)")
	switch {
	case !strings.HasPrefix(word, "-") || word == "-":
		return nil
	case strings.HasPrefix(word, "--") && c.Flags().Lookup(word[2:]) == nil && c.InheritedFlags().Lookup(word[2:]) == nil:
		return fmt.Errorf("no flag %s", word)
	case !strings.HasPrefix(word, "--") && c.Flags().ShorthandLookup(word[1:2]) == nil:
		return fmt.Errorf("no flag %s", word)
	}
	return nil
}

// The test above must find what is wrong.
func TestUnderstood(t *testing.T) {
	for line, want := range map[string]bool{
		"check -c /etc/rtmps-edge/edge.toml": true, "key add alice --app live --expires 30d": true, "key list": true,
		"frobnicate": false, "key lend alice": false, "key add alice --colour red": false, "run -x": false,
	} {
		if got := understood(strings.Fields(line)) == nil; got != want {
			t.Errorf("%q is understood: %v", line, got)
		}
	}
	for heading, want := range map[string]string{"[[tls.certificate]]": "tlscertificate", "The log": "the-log", "`keys.toml` and more": "keystoml-and-more"} {
		if got := anchorOf(heading); got != want {
			t.Errorf("%q: %q", heading, got)
		}
	}
	if !slices.ContainsFunc(tables(t), func(x keyTable) bool { return x.name == "[limits]" && len(x.keys) > 10 && !x.off }) {
		t.Error("[limits] is not read")
	}
}
