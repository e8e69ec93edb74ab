package authz

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

func newKey(subject, key string) Key {
	return Key{Terms: Terms{Subject: subject, Actions: []Action{Publish}}, Hash: HashOf(secret.New(key))}
}

func content(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func removeSubject(t *testing.T, file, subject string) int {
	t.Helper()
	n, err := RemoveKeys(file, func(k Key) bool { return k.Subject == subject })
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// removeFrom removes entry i by hand of a real file.
func removeFrom(t *testing.T, data []byte, i int) []byte {
	t.Helper()
	file := keysToml(t, string(data))
	at := -1
	if n, err := RemoveKeys(file, func(Key) bool { at++; return at == i }); err != nil || n != 1 {
		t.Fatalf("removed %d: %v", n, err)
	}
	return []byte(content(t, file))
}

func TestAddKeyMakesTheFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.toml")
	if err := AddKey(file, newKey("alice", "a")); err != nil {
		t.Fatal(err)
	}
	want := "[[key]]\nsubject = \"alice\"\nhash = \"" + HashKey("a") + "\"\nactions = [\"publish\"]\n"
	if got := content(t, file); got != want {
		t.Errorf("got\n%s", got)
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != newFileMode {
		t.Errorf("mode %v", info.Mode())
	}
}

func TestAddKeyWritesAll(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.toml")
	k := Key{Line: 1, Hash: HashOf(secret.New("a")), Terms: Terms{
		Subject: `al"i\ce`, Actions: []Action{Publish, Play}, App: "live*", Name: "\x00\x7fä\n", Origin: "main",
		From:      []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("2001:db8::/32")},
		NotBefore: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC), Expires: time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC),
		Bitrate: 2_500_000, Disabled: true,
	}}
	if err := AddKey(file, k); err != nil {
		t.Fatal(err)
	}
	got, err := ListKeys(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Key{k}, got, compareKeys); diff != "" {
		t.Error(diff)
	}
}

const handWritten = `# Keys of the studio.

# alice has two
[[key]]   # the first
subject = "alice"
hash    = "plain:1"   # to be changed
from    = [
  # home
  "192.0.2.1",

]
# after the list

# this one is bob's
[[ key ]]
hash = 'plain:2'
subject = """
# not a comment

bob"""

   [[key]]
subject = "alice"
hash = "plain:3"`

func TestAddThenRemoveLeavesTheFileAsItWas(t *testing.T) {
	hand := strings.ReplaceAll(handWritten, "subject = \"\"\"\n# not a comment\n\nbob\"\"\"", "subject = 'bob'")
	for name, text := range map[string]string{"ends in a line end": hand + "\n", "empty": "", "comment": "# keys\n", "CRLF": strings.ReplaceAll(hand, "\n", "\r\n") + "\r\n"} {
		t.Run(name, func(t *testing.T) {
			file := keysToml(t, text)
			if err := AddKey(file, newKey("new", "n")); err != nil {
				t.Fatal(err)
			}
			if got := content(t, file); !strings.HasPrefix(got, text) || len(got) == len(text) {
				t.Errorf("what was there has changed:\n%s", got)
			}
			if n := removeSubject(t, file, "new"); n != 1 {
				t.Errorf("removed %d", n)
			}
			if diff := cmp.Diff(text, content(t, file)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestRemoveKeysKeepsTheRest(t *testing.T) {
	// A control character in a subject is a fault; the value of several lines
	// that the test is about is the name.
	text := strings.Replace(handWritten, "subject = \"\"\"", "subject = 'bob'\nname = \"\"\"", 1)
	for subject, want := range map[string]string{
		"alice": `# Keys of the studio.

# alice has two
# after the list

# this one is bob's
[[ key ]]
hash = 'plain:2'
subject = 'bob'
name = """
# not a comment

bob"""
`,
		"bob": `# Keys of the studio.

# alice has two
[[key]]   # the first
subject = "alice"
hash    = "plain:1"   # to be changed
from    = [
  # home
  "192.0.2.1",

]
# after the list

# this one is bob's

   [[key]]
subject = "alice"
hash = "plain:3"`,
	} {
		file := keysToml(t, text)
		removeSubject(t, file, subject)
		if diff := cmp.Diff(want, content(t, file)); diff != "" {
			t.Errorf("without %s: %s", subject, diff)
		}
	}
}

func TestRemoveNothing(t *testing.T) {
	file := keysToml(t, "[[key]]\nsubject='a'\nhash='plain:a'")
	before, _ := os.Stat(file)
	if n := removeSubject(t, file, "b"); n != 0 {
		t.Errorf("removed %d", n)
	}
	if after, _ := os.Stat(file); !os.SameFile(before, after) {
		t.Error("the file was written")
	}
}

func TestEditRefuses(t *testing.T) {
	long := newKey("a", "a")
	long.Name = strings.Repeat("n", MaxKeyLength+1)
	bad := newKey("a", "a")
	bad.Name = "\xff"
	none := newKey("a", "a")
	none.Actions = nil
	for _, c := range []struct {
		name, text string
		k          Key
		want       string
	}{
		{"faults in the file", "[[key]]\nsubject = 'b'\nhash = '" + canary + "'\n", newKey("a", "a"), "keys.toml:3: hash"},
		{"the same key", "[[key]]\nsubject = 'b'\nhash = 'plain:a'\n", newKey("a", "a"), "is the same key"},
		{"inline", "key = []\n", newKey("a", "a"), "write them as [[key]]"},
		{"no subject", "", newKey("", "a"), "subject: must say who owns"},
		{"long name", "", long, "nn…\": must be a string of at most 255 bytes"},
		{"not UTF-8", "", bad, "invalid UTF-8"},
		{"no action", "", none, `must be ["publish"]`},
		{"no hash", "", Key{Terms: Terms{Subject: "a", Actions: []Action{Publish}}}, "without hash"},
		{"full", strings.Repeat("#", MaxEntriesFile-20), newKey("a", "a"), "larger than 16 MiB"},
	} {
		t.Run(c.name, func(t *testing.T) {
			file := keysToml(t, c.text)
			err := AddKey(file, c.k)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), canary) {
				t.Errorf("got %.300v, want %s", err, c.want)
			}
			if content(t, file) != c.text {
				t.Error("the file was changed")
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(file), ".keys*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	var list fault.List
	_, err := RemoveKeys(keysToml(t, "[[key]]\n"), func(Key) bool { return true })
	if !errors.As(err, &list) {
		t.Errorf("RemoveKeys: got %v", err)
	}
	if _, err := RemoveKeys(filepath.Join(t.TempDir(), "none"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("RemoveKeys: got %v", err)
	}
}

func TestEditKeepsModeAndLink(t *testing.T) {
	file := keysToml(t, "")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.toml")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	if err := AddKey(link, newKey("a", "a")); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Lstat(link); info.Mode()&os.ModeSymlink == 0 {
		t.Error("the link was replaced")
	}
	if info, _ := os.Stat(file); info.Mode().Perm() != 0o640 || info.Size() == 0 {
		t.Errorf("mode %v, %d bytes", info.Mode(), info.Size())
	}
}

// Two operators at once: no key is lost.
func TestEditsAtOnce(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys.toml")
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := AddKey(file, newKey("a", fmt.Sprint(i))); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got, err := ListKeys(file); err != nil || len(got) != 20 {
		t.Errorf("%d keys, %v", len(got), err)
	}
}
