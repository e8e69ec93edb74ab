package tomlfile

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"rtmps-edge/internal/fault"
)

func parse(t *testing.T, text string) *Table {
	t.Helper()
	root, err := Parse("f.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestValuesAreRead(t *testing.T) {
	root := parse(t, `
s = "text"
b = true
n = 7
d = "5s"
size = "64KiB"
plain = 4096
list = ["a", "b"]
[[many]]
x = "1"
[[many]]
x = "2"
[one.deep]
y = "z"
`)
	var s string
	var b bool
	var n, size, plain int
	var d time.Duration
	var list []string
	root.String("s", &s)
	root.Bool("b", &b)
	root.Int("n", &n, 0, 10)
	root.Duration("d", &d, 0, time.Minute)
	root.Size("size", &size, 0, 1<<20)
	root.Size("plain", &plain, 0, 1<<20)
	root.Strings("list", &list)
	var xs []string
	for _, m := range root.Tables("many") {
		x := ""
		m.String("x", &x)
		m.End()
		xs = append(xs, x)
	}
	y := ""
	one := root.Table("one")
	deep := one.Table("deep")
	deep.String("y", &y)
	deep.End()
	one.End()
	if root.Table("none").Present() || !deep.Present() {
		t.Error("Present is wrong")
	}
	root.End()
	if err := root.Err(); err != nil {
		t.Error(err)
	}
	if s != "text" || !b || n != 7 || d != 5*time.Second || size != 65536 || plain != 4096 || y != "z" ||
		!slices.Equal(list, []string{"a", "b"}) || !slices.Equal(xs, []string{"1", "2"}) {
		t.Error(s, b, n, d, size, plain, list, xs, y)
	}
}

func TestDefaultsStayWhereNothingStands(t *testing.T) {
	root := parse(t, "")
	s, n, d, list := "default", 3, time.Second, []string{"x"}
	root.String("s", &s)
	root.Int("n", &n, 0, 1)
	root.Duration("d", &d, 0, 1)
	root.Strings("list", &list)
	OneOf(root, "s", &s, "other")
	if root.Err() != nil || s != "default" || n != 3 || d != time.Second || len(list) != 1 {
		t.Error(root.Err(), s, n, d, list)
	}
}

// Every fault is told, with its line, in the order of the lines.
func TestFaults(t *testing.T) {
	root := parse(t, `wrong = 1
n = 99
[sub]
d = "soon"
[[many]]
ok = "x"
[[many]]
word = "c"
inline = [{ a = "1" },
  { a = 2 }]
secret = 5
url = "http://user:pw@host/"
`)
	n, d, word, a := 0, time.Duration(0), "", ""
	root.Int("n", &n, 0, 10)
	root.Table("sub").Duration("d", &d, time.Second, time.Hour)
	for i, m := range root.Tables("many") {
		m.String("ok", &word)
		OneOf(m, "word", &word, "a", "b")
		m.String("secret", &word)
		m.Int("url", &n, 0, 1)
		for _, in := range m.Tables("inline") {
			in.String("a", &a)
		}
		if i == 0 && m.Line("missing") != 5 {
			t.Errorf("a missing key is said to be in line %d", m.Line("missing"))
		}
	}
	root.End()
	want := []string{
		`f.toml:1: wrong = "1": is not known here; the keys are many, n, sub`,
		`f.toml:2: n = "99": must be a whole number from 0 to 10`,
		`f.toml:4: sub.d = "soon": must be a time such as "10s" or "5m", from 1s to 1h0m0s`,
		`f.toml:8: many.word = "c": must be one of "a", "b"`,
		`f.toml:10: many.inline.a = "2": must be text in quotes`,
		`f.toml:11: many.secret: must be text in quotes`,
		`f.toml:12: many.url: must be a whole number from 0 to 1`,
	}
	if got := strings.Split(root.Err().Error(), "\n"); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestWrongShapes(t *testing.T) {
	root := parse(t, "a = 1\nb = [1]\nc = \"x\"\nd = [1]\ne = 1.5\n")
	root.Table("a")
	root.Tables("b")
	root.Tables("c")
	var list []string
	var size int
	root.Strings("d", &list)
	root.Size("e", &size, 0, 10)
	root.NotBuilt("a")
	if got := root.Err().(fault.List); len(got) != 6 {
		t.Errorf("%d faults: %v", len(got), got)
	}
}

func TestSyntaxFaultHasAPlaceAndNoSecret(t *testing.T) {
	_, err := Parse("f.toml", []byte("a = 1\nsecret = hunter2\n"))
	var list fault.List
	if !errors.As(err, &list) || len(list) != 1 || list[0].Line != 2 || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("%v", err)
	}
}

func TestManyFaultsAreCut(t *testing.T) {
	root := parse(t, "")
	for range maxFaults + 5 {
		root.Fault("x", "is wrong")
	}
	if got := root.Err().(fault.List); len(got) != maxFaults+1 || !strings.Contains(got[maxFaults].Problem, "5 faults more") {
		t.Errorf("%d faults, the last %v", len(got), got[len(got)-1])
	}
}

func TestFileIsRelativeToTheFileThatNamesIt(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "there"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	root, err := Parse(filepath.Join(dir, "f.toml"), []byte("a = \"there\"\nb = \"not\"\nc = \"\"\n"))
	if err != nil {
		t.Fatal(err)
	}
	a, b, c := "", "", ""
	root.File("a", &a)
	root.File("b", &b)
	root.File("c", &c)
	if a != filepath.Join(dir, "there") || c != "" {
		t.Error(a, c)
	}
	list, _ := root.Err().(fault.List)
	if len(list) != 1 || list[0].Line != 2 {
		t.Errorf("%v", list)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("a = 1\n[b]\nc = [{ d = 1 }]\n[[e]]\n[e.f]\ng.h = 2\n")
	f.Fuzz(func(t *testing.T, text string) {
		root, err := Parse("f", []byte(text))
		if err != nil {
			return
		}
		root.End()
		list, _ := root.Err().(fault.List)
		for _, one := range list {
			if one.Line < 0 || one.Line > strings.Count(text, "\n")+1 {
				t.Errorf("line %d of %q", one.Line, text)
			}
		}
	})
}
