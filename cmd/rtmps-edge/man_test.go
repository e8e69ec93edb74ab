package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// Man pages are made from the commands by this test, so that what makes them is
// no part of the program: make man.
var manDir = flag.String("man", "", "leave the man pages in this `directory`")

// every calls f for the root and all commands below it that users see.
func every(c *cobra.Command, f func(*cobra.Command)) {
	if c.Hidden || c.Name() == "help" {
		return
	}
	f(c)
	for _, sub := range c.Commands() {
		every(sub, f)
	}
}

// whole is the root with the commands that cobra adds when it runs.
func whole() *cobra.Command {
	root := rootCommand()
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd("completion")
	return root
}

func TestEveryCommandIsExplained(t *testing.T) {
	n := 0
	every(whole(), func(c *cobra.Command) {
		n++
		path := c.CommandPath()
		if c.Short == "" || strings.HasSuffix(c.Short, ".") {
			t.Errorf("%s: Short is %q", path, c.Short)
		}
		if !ofCobra(c) && !strings.Contains(c.Example, path) {
			t.Errorf("%s has no example of itself", path)
		}
		for line := range strings.Lines(c.Example) {
			if !strings.HasPrefix(line, "  ") {
				t.Errorf("%s: example %q is not indented", path, line)
			}
		}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Usage == "" {
				t.Errorf("%s: --%s is not explained", path, f.Name)
			}
		})
	})
	if n < 10 {
		t.Errorf("only %d commands", n)
	}
}

// Whatever prints an answer and ends prints it as JSON, too, if it is asked to.
func TestEveryAnswerIsJSONToo(t *testing.T) {
	every(whole(), func(c *cobra.Command) {
		switch path := c.CommandPath(); {
		case ofCobra(c), c.HasSubCommands() && path != "rtmps-edge bans": // they print nothing of their own
		case path == "rtmps-edge run", path == "rtmps-edge demo": // they do not end; [log] format is for them
		case c.Flags().Lookup("json") == nil:
			t.Errorf("%s has no --json", path)
		}
	})
}

// ofCobra are commands whose words are not ours.
func ofCobra(c *cobra.Command) bool {
	return strings.HasPrefix(c.CommandPath()+" ", "rtmps-edge completion ")
}

// builtAt is the date in man pages: SOURCE_DATE_EPOCH where it is set, so that
// two builds are the same.
func builtAt(t *testing.T) time.Time {
	t.Helper()
	text := os.Getenv("SOURCE_DATE_EPOCH")
	if text == "" {
		return time.Now()
	}
	seconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return time.Unix(seconds, 0).UTC()
}

func TestManPages(t *testing.T) {
	dir := *manDir
	if dir == "" {
		dir = t.TempDir()
	}
	at := builtAt(t)
	root := whole()
	root.DisableAutoGenTag = true // it has the day of the build
	header := &doc.GenManHeader{Section: "1", Source: "rtmps-edge", Manual: "rtmps-edge", Date: &at}
	if err := doc.GenManTree(root, header, dir); err != nil {
		t.Fatal(err)
	}
	every(root, func(c *cobra.Command) {
		name := strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		page, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{".TH ", ".SH NAME", ".SH SYNOPSIS"} {
			if !bytes.Contains(page, []byte(want)) {
				t.Errorf("%s has no %q", name, want)
			}
		}
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden && !bytes.Contains(bytes.ReplaceAll(page, []byte(`\-`), []byte("-")), []byte("--"+f.Name)) {
				t.Errorf("%s does not tell of --%s", name, f.Name)
			}
		})
	})
}

// Completion scripts are made for every shell, and bash takes its own.
func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		var out bytes.Buffer
		root := rootCommand()
		root.SetOut(&out)
		root.SetArgs([]string{"completion", shell})
		if err := root.Execute(); err != nil || !strings.Contains(out.String(), "rtmps-edge") {
			t.Errorf("%s: %v, %d bytes", shell, err, out.Len())
		}
		if shell != "bash" {
			continue
		}
		bash := exec.Command("bash", "-n")
		bash.Stdin = &out
		if said, err := bash.CombinedOutput(); err != nil {
			t.Errorf("bash: %v\n%s", err, said)
		}
	}
}

// What is completed are commands, flags, subjects, and files only where one is
// meant.
func TestCompletions(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys.toml")
	if err := os.WriteFile(keys, []byte("[[key]]\nsubject = \"alice\"\nhash = \"sha256:"+strings.Repeat("0", 64)+"\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	users := filepath.Join(t.TempDir(), "users.toml")
	if err := os.WriteFile(users, []byte("[[user]]\nname = \"bob\"\npassword = \"x\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args []string
		want string
		not  string
	}{
		{[]string{""}, "probe\t", ""},
		{[]string{"check", "--"}, "--config\t", ""},
		{[]string{"check", ""}, fmt.Sprintf(":%d\n", cobra.ShellCompDirectiveNoFileComp), "check"},
		{[]string{"key", "remove", "-f", keys, ""}, "alice\n", ""},
		{[]string{"key", "remove", "-f", keys, "alice", ""}, ":", "alice"},
		{[]string{"key", "remove", "-f", "nowhere.toml", ""}, ":", "\n\n"},
		{[]string{"user", "remove", "-f", users, ""}, "bob\n", ""},
		{[]string{"run", "-c", ""}, fmt.Sprintf("toml\n:%d\n", cobra.ShellCompDirectiveFilterFileExt), ""},
	} {
		var out bytes.Buffer
		root := rootCommand()
		root.SetOut(&out)
		root.SetErr(new(bytes.Buffer))
		root.SetArgs(append([]string{cobra.ShellCompRequestCmd}, c.args...))
		if err := root.Execute(); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), c.want) || c.not != "" && strings.Contains(out.String(), c.not) {
			t.Errorf("%q gives %q", c.args, &out)
		}
	}
}
