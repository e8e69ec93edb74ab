package e2e

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// release is a checkout of its own and the package that was built in it.
type release struct{ dir, deb string }

// firstRelease is what the tests of the package install.
var firstRelease = sync.OnceValues(func() (*release, error) { return buildRelease("first") })

// buildRelease copies what is checked out to another place, commits it there as
// the only commit of its history, and makes the package for this machine.
func buildRelease(name string) (*release, error) {
	r := &release{dir: filepath.Join(work, "release", name, "checkout")}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	const script = `set -eu
mkdir -p "$1"
git ls-files -z --cached --others --exclude-standard | while IFS= read -r -d '' f; do [ ! -e "$f" ] || printf '%s\0' "$f"; done |
  tar -c --null -T - | tar -x -C "$1"
cd "$1"
git init -q .
git add -A
git commit -q -m 'All of it'
exec packaging/build.sh deb "$1/../out"`
	cmd := exec.CommandContext(ctx, "bash", "-c", script, "build", r.dir)
	cmd.Dir = ".."
	return r, r.build(cmd)
}

// buildLinked makes the package again, in a linked worktree of the same commit.
func buildLinked(of *release) (*release, error) {
	r := &release{dir: filepath.Join(work, "release", "somewhere else", "linked")}
	ctx, cancel := context.WithTimeout(context.Background(), buildTime)
	defer cancel()
	const script = `set -eu
git worktree add -q --detach "$1" HEAD
cd "$1"
exec packaging/build.sh deb "$1/../out"`
	cmd := exec.CommandContext(ctx, "bash", "-c", script, "build", r.dir)
	cmd.Dir = of.dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-tags=mine", "GOEXPERIMENT=nosuch", "TZ=Asia/Tokyo", "LC_ALL=C.UTF-8") // what a user may have
	return r, r.build(cmd)
}

// build runs what makes the package, and finds it.
func (r *release) build(cmd *exec.Cmd) error {
	const at = "2026-01-02T03:04:05Z"
	cmd.Env = append(cmd.Environ(), "GIT_AUTHOR_DATE="+at, "GIT_COMMITTER_DATE="+at, "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@localhost", "GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@localhost")
	cmd.SysProcAttr = dieWithUs()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("make the package: %w\n%s", err, out)
	}
	found, err := filepath.Glob(filepath.Join(r.dir, "..", "out", "*.deb"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("packages %q, %v", found, err)
	}
	r.deb = found[0]
	return nil
}

// first is the package that is installed, with its files beside it.
func first(t testing.TB) *release {
	t.Helper()
	r, err := firstRelease()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// told runs a program that must succeed, and returns what it prints.
func told(t testing.TB, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(program(t, name), args...)
	cmd.SysProcAttr = dieWithUs()
	var said, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &failed
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s %q: %v\n%s%s", name, args, err, &said, &failed)
	}
	return said.String()
}

// The same commit gives the same bytes, wherever it is checked out.
func TestPackageIsReproducible(t *testing.T) {
	t.Parallel()
	one := first(t)
	other, err := buildLinked(one)
	if err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(one.deb)
	b, errB := os.ReadFile(other.deb)
	if errA != nil || errB != nil {
		t.Fatal(errA, errB)
	}
	if filepath.Base(one.deb) != filepath.Base(other.deb) || !bytes.Equal(a, b) {
		t.Errorf("%s (%d bytes) and %s (%d bytes) differ", one.deb, len(a), other.deb, len(b))
	}
}

// unpacked is the package's files, in a directory.
func unpacked(t testing.TB) string {
	t.Helper()
	dir := t.TempDir()
	told(t, "dpkg-deb", "-x", first(t).deb, dir)
	return dir
}

// What the package holds: one program that needs nothing, its bill of materials,
// manuals that man reads without a complaint, and a configuration without faults.
func TestPackageContents(t *testing.T) {
	t.Parallel()
	dir := unpacked(t)
	edge := filepath.Join(dir, "usr/bin/rtmps-edge")
	f, err := elf.Open(edge)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if libs, err := f.ImportedLibraries(); len(libs) > 0 || err != nil {
		t.Errorf("it needs %q, %v", libs, err)
	}
	version := told(t, edge, "version")
	commit := strings.TrimSpace(told(t, "git", "-C", first(t).dir, "rev-parse", "--short=12", "HEAD"))
	if !strings.Contains(version, "rtmps-edge 0.0.0-git202601020304."+commit+", commit "+commit+",") {
		t.Errorf("version of commit %s: %s", commit, version)
	}
	text, err := os.ReadFile(edge)
	if err != nil || bytes.Contains(text, []byte(work)) {
		t.Errorf("the program knows where it was built (%v)", err)
	}
	var bill struct {
		Metadata   struct{ Component struct{ Version string } }
		Components []struct{ Name string }
	}
	text, err = os.ReadFile(filepath.Join(dir, "usr/share/doc/rtmps-edge/sbom.cdx.json"))
	if err != nil || json.Unmarshal(text, &bill) != nil || len(bill.Components) < 10 || !strings.HasPrefix(bill.Metadata.Component.Version, "0.0.0-git") {
		t.Errorf("%v: %s", err, text)
	}
	pages, _ := filepath.Glob(filepath.Join(dir, "usr/share/man/man1/*.1.gz"))
	if len(pages) < 10 {
		t.Errorf("manuals %q", pages)
	}
	for _, page := range pages {
		cmd := exec.Command(program(t, "man"), "--warnings", "-E", "UTF-8", "-l", page)
		cmd.Env = append(os.Environ(), "MANWIDTH=80")
		cmd.Stdout = nil
		var complaints bytes.Buffer
		cmd.Stderr = &complaints
		if err := cmd.Run(); err != nil || complaints.Len() > 0 {
			t.Errorf("%s: %v %s", page, err, &complaints)
		}
	}
}

// The package's documents lead to each other, as they do in the checkout.
func TestPackagePages(t *testing.T) {
	t.Parallel()
	link := regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`)
	pages := 0
	err := filepath.WalkDir(filepath.Join(unpacked(t), "usr/share/doc/rtmps-edge"), func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".md" {
			return err
		}
		pages++
		text, err := os.ReadFile(path)
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s: %v", filepath.Base(path), err)
			}
		}
		return err
	})
	if err != nil || pages < 10 {
		t.Errorf("%d pages, %v", pages, err)
	}
}

// maxExposure is how much the unit may leave open, in the measure of
// systemd-analyze: 10 × what it prints. It has 17.
const maxExposure = 18

// systemd understands the units, and finds them hardened.
func TestUnits(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	edge := filepath.Join(unpacked(t), "usr/bin/rtmps-edge")
	for _, name := range []string{"rtmps-edge.service", "rtmps-edge.socket"} {
		text, err := os.ReadFile(filepath.Join("../packaging/systemd", name))
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, name), strings.ReplaceAll(string(text), "/usr/bin/rtmps-edge", edge))
	}
	verify := exec.Command(program(t, "systemd-analyze"), "verify", "--man=no", filepath.Join(dir, "rtmps-edge.service"), filepath.Join(dir, "rtmps-edge.socket"))
	if said, err := verify.CombinedOutput(); err != nil || len(said) > 0 {
		t.Errorf("%v\n%s", err, said)
	}
	told(t, "systemd-analyze", "security", "--no-pager", "--offline=true", "--threshold="+strconv.Itoa(maxExposure), filepath.Join(dir, "rtmps-edge.service"))
}

// secondVersion sorts after whatever the first has.
const secondVersion = "9999.0"

// secondDeb is the first package under a higher version.
func secondDeb(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "deb")
	told(t, "dpkg-deb", "-R", first(t).deb, dir)
	control := filepath.Join(dir, "DEBIAN/control")
	text, err := os.ReadFile(control)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	i := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "Version: ") })
	lines[i] = "Version: " + secondVersion
	writeFile(t, control, strings.Join(lines, "\n"))
	file := filepath.Join(t.TempDir(), "second.deb")
	told(t, "dpkg-deb", "--root-owner-group", "-Zgzip", "-b", dir, file)
	return file
}

// needsRoot is for what dpkg does to a system.
func needsRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root installs packages")
	}
}

// offline is a system in a directory that nothing runs on.
type offline struct{ dir string }

func newOffline(t testing.TB) *offline {
	t.Helper()
	o := &offline{t.TempDir()}
	for _, d := range []string{"etc", "var/lib/dpkg/info", "var/lib/dpkg/updates"} {
		if err := os.MkdirAll(filepath.Join(o.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, text := range map[string]string{"etc/group": "root:x:0:\n", "etc/passwd": "root:x:0:0::/root:/bin/sh\n", "etc/gshadow": "root:*::\n", "etc/login.defs": "", "var/lib/dpkg/status": ""} {
		writeFile(t, filepath.Join(o.dir, name), text)
	}
	return o
}

func (o *offline) dpkg(t testing.TB, args ...string) string {
	t.Helper()
	return told(t, "dpkg", append([]string{"--root=" + o.dir, "--force-script-chrootless", "--force-depends", "--force-unsafe-io", "--force-confold"}, args...)...)
}

func (o *offline) path(name string) string { return filepath.Join(o.dir, name) }

// group is the number of the group that may read what the service needs.
func (o *offline) group(t testing.TB) int {
	t.Helper()
	text, err := os.ReadFile(o.path("etc/group"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Split(line, ":"); f[0] == "_rtmps-edge" {
			n, err := strconv.Atoi(f[2])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("no group in %s", text)
	return 0
}

// The package is installed into a system that does not run, as image builders do.
// What it installs can be run by somebody who is only in its group. An upgrade
// keeps what was changed, a removal keeps it too, and a purge nothing.
func TestPackageInAnImage(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	o := newOffline(t)
	o.dpkg(t, "-i", first(t).deb)
	edge, config, keys := o.path("usr/bin/rtmps-edge"), o.path("etc/rtmps-edge/edge.toml"), o.path("etc/rtmps-edge/keys.toml")
	group := o.group(t)
	o.owned(t, "etc/rtmps-edge", group, 0o750)
	o.owned(t, "etc/rtmps-edge/keys.toml", group, 0o640)
	told(t, edge, "key", "add", "alice", "-c", config)
	o.owned(t, "etc/rtmps-edge/keys.toml", group, 0o640)
	o.runs(t, edge, config, group)

	o.dpkg(t, "-i", secondDeb(t))
	if v := o.dpkg(t, "-s", "rtmps-edge"); !strings.Contains(v, "Version: "+secondVersion) {
		t.Errorf("after the upgrade: %s", v)
	}
	for file, want := range map[string]string{config: "# mine", keys: "alice"} {
		if text, err := os.ReadFile(file); err != nil || !strings.Contains(string(text), want) {
			t.Errorf("the upgrade has lost what was changed in %s (%v)", file, err)
		}
	}
	o.dpkg(t, "-r", "rtmps-edge")
	if _, err := os.Stat(edge); !os.IsNotExist(err) {
		t.Errorf("after the removal: %v", err)
	}
	if _, err := os.Stat(keys); err != nil {
		t.Errorf("the removal has taken the keys: %v", err)
	}
	o.dpkg(t, "-P", "rtmps-edge")
	if _, err := os.Stat(filepath.Dir(keys)); !os.IsNotExist(err) {
		t.Errorf("after the purge: %v", err)
	}
}

func (o *offline) owned(t testing.TB, name string, group int, mode os.FileMode) {
	t.Helper()
	info, err := os.Stat(o.path(name))
	if err != nil {
		t.Fatal(err)
	}
	if s := info.Sys().(*syscall.Stat_t); s.Uid != 0 || int(s.Gid) != group || info.Mode().Perm() != mode {
		t.Errorf("%s belongs to %d:%d, %v", name, s.Uid, s.Gid, info.Mode())
	}
}

// nobody is a user who exists nowhere, as the service's does.
const nobody = 61234

// runs starts the edge with the packaged configuration, but for its port and its
// state, as the unit does: nobody, with one group and no privilege.
func (o *offline) runs(t testing.TB, edge, config string, group int) {
	t.Helper()
	state := o.path("state")
	if err := os.Mkdir(state, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(state, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	mine := strings.NewReplacer(`":1936"`, `"127.0.0.1:0"`, "/var/lib/rtmps-edge/tls", filepath.Join(state, "tls")).Replace(string(text)) + "# mine\n"
	if err := os.WriteFile(config, []byte(mine), 0); err != nil { // its mode stays
		t.Fatal(err)
	}
	letThrough(t, o.dir)
	p := startProgram(t, "setpriv", "--reuid", strconv.Itoa(nobody), "--regid", strconv.Itoa(nobody), "--groups", strconv.Itoa(group),
		"--no-new-privs", "--inh-caps=-all", "--bounding-set=-all", "--pdeathsig", "KILL", edge, "run", "-c", config)
	p.waitText(t, "msg=listening")
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("it ended with status %d", code)
	}
}

// letThrough lets everybody pass the directories above dir.
func letThrough(t testing.TB, dir string) {
	t.Helper()
	for d := dir; strings.HasPrefix(d, os.TempDir()) && d != os.TempDir(); d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// The package's whole life where systemd runs it: in a container that has this
// machine's files and forgets what is changed in them. What is checked stands in
// testdata/package/inside.sh.
func TestPackageUnderSystemd(t *testing.T) {
	t.Parallel()
	needsRoot(t)
	if said, err := exec.Command("unshare", "--mount", "sh", "-c", "mount -t tmpfs tmpfs /mnt").CombinedOutput(); err != nil {
		t.Skipf("this machine lets root mount nothing (%v: %s): TestPackageInAnImage and TestUnits have to do", err, said)
	}
	for _, name := range []string{"systemd-nspawn", "nginx", "ffmpeg"} {
		program(t, name)
	}
	out := t.TempDir()
	for _, f := range []struct{ from, to string }{{first(t).deb, "first.deb"}, {secondDeb(t), "second.deb"},
		{"testdata/package/inside.sh", "inside.sh"}, {"testdata/package/nginx.conf", "nginx.conf"}} {
		data, err := os.ReadFile(f.from)
		if err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(out, f.to), string(data))
	}
	script, err := filepath.Abs("testdata/package/nspawn.sh")
	if err != nil {
		t.Fatal(err)
	}
	p := startProgram(t, "unshare", "--mount", "--propagation", "private", "bash", script, filepath.Join(t.TempDir(), "container"), out)
	t.Cleanup(forgetCgroup)
	select {
	case <-p.ended:
	case <-time.After(4 * patience):
		t.Error("the container does not end")
	}
	log, err := os.ReadFile(filepath.Join(out, "log"))
	if err != nil {
		t.Fatal(err)
	}
	good := strings.Count("\n"+string(log), "\nok ")
	if good < 40 || strings.Contains("\n"+string(log), "\nFAIL") || !strings.HasSuffix(string(log), "\ndone\n") {
		t.Errorf("%d things are well:\n%s", good, log)
	}
}

// forgetCgroup removes what the container leaves behind in the tree of cgroups.
func forgetCgroup() {
	for _, pattern := range []string{"/sys/fs/cgroup/*/rtmps-edge-e2e", "/sys/fs/cgroup/rtmps-edge-e2e"} {
		tops, _ := filepath.Glob(pattern)
		for _, top := range tops {
			_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}", "+").Run()
		}
	}
}

// The package is that of this machine's kind.
func TestPackageIsOfThisMachine(t *testing.T) {
	t.Parallel()
	if arch := strings.TrimSpace(told(t, "dpkg-deb", "-f", first(t).deb, "Architecture")); arch != runtime.GOARCH {
		t.Errorf("the package is for %s", arch)
	}
}
