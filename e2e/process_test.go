package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// process is a program that a test has started. It is killed when the test
// ends, and what it said is shown if the test has failed.
type process struct {
	name  string
	cmd   *exec.Cmd
	out   output
	ended chan struct{} // closed when it is gone
}

// running are the processes of all tests, so that TestMain can say which were
// left behind.
var running registry

type registry struct {
	mu sync.Mutex
	m  map[*process]bool
}

func (r *registry) set(p *process, alive bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.m == nil {
		r.m = make(map[*process]bool)
	}
	if alive {
		r.m[p] = true
	} else {
		delete(r.m, p)
	}
}

func (r *registry) list() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for p := range r.m {
		names = append(names, fmt.Sprintf("%s (pid %d)", p.name, p.cmd.Process.Pid))
	}
	return names
}

// dieWithUs has the kernel kill a child whose parent is gone.
func dieWithUs() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }

// start runs cmd with all its output kept.
func start(t testing.TB, cmd *exec.Cmd) *process {
	t.Helper()
	p := prepare(cmd)
	p.launch(t)
	return p
}

// prepare makes a process that does not run yet.
func prepare(cmd *exec.Cmd) *process {
	p := &process{name: filepath.Base(cmd.Path), cmd: cmd, ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.out, &p.out
	cmd.SysProcAttr = dieWithUs()
	cmd.WaitDelay = patience // a grandchild may hold the output open
	return p
}

func (p *process) launch(t testing.TB) {
	t.Helper()
	cmd := p.cmd
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
	running.set(p, true)
	go func() {
		_ = cmd.Wait() // told by ProcessState
		running.set(p, false)
		close(p.ended)
		p.out.wake()
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("---- %s said:\n%s", p.name, p.out.String())
		}
	})
}

// startProgram runs an installed program.
func startProgram(t testing.TB, name string, args ...string) *process {
	t.Helper()
	return start(t, exec.Command(program(t, name), args...))
}

// signal fails the test if p is gone already.
func (p *process) signal(t testing.TB, s os.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		t.Fatalf("%s: %v: %v", p.name, s, err)
	}
}

// interrupt asks p to leave, as Ctrl-C does, and waits until it has.
func (p *process) interrupt(t testing.TB) {
	t.Helper()
	p.signal(t, os.Interrupt)
	p.exit(t)
}

// exit waits until p is gone and returns its exit status, -1 after a signal.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		t.Fatalf("waited for the end of %s", p.name)
	}
	return p.cmd.ProcessState.ExitCode()
}

func (p *process) alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// mustLive fails the test if p has ended.
func (p *process) mustLive(t testing.TB) {
	t.Helper()
	if !p.alive() {
		t.Fatalf("%s has ended: %v", p.name, p.cmd.ProcessState)
	}
}

// wait returns the first line of output that match takes, be it said before or
// later. It fails the test when p ends without it.
func (p *process) wait(t testing.TB, what string, match func(line string) bool) string {
	t.Helper()
	timeout := time.After(patience)
	seen := 0
	for {
		gone := !p.alive() // before the look: what it said at last counts
		lines, more := p.out.after(seen)
		for _, l := range lines {
			if match(l) {
				return l
			}
		}
		seen += len(lines)
		if gone {
			t.Fatalf("%s ended (%v) while the test waited for %s", p.name, p.cmd.ProcessState, what)
		}
		select {
		case <-more:
		case <-timeout:
			t.Fatalf("waited for %s of %s", what, p.name)
		}
	}
}

// waitText waits for a line that contains text.
func (p *process) waitText(t testing.TB, text string) string {
	t.Helper()
	return p.wait(t, fmt.Sprintf("%q", text), func(l string) bool { return strings.Contains(l, text) })
}

// output is what a process has said, by line. A carriage return ends a line
// too: ffmpeg's progress.
type output struct {
	mu    sync.Mutex
	lines []string
	part  []byte        // of a line without an end
	more  chan struct{} // closed at the next line; nil if nobody waits
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	o.part = append(o.part, p...)
	for {
		i := bytes.IndexAny(o.part, "\r\n")
		if i < 0 {
			break
		}
		if i > 0 {
			o.lines = append(o.lines, string(o.part[:i]))
		}
		o.part = o.part[i+1:]
	}
	o.mu.Unlock()
	o.wake()
	return len(p), nil
}

// wake lets everybody look again who waits for a line.
func (o *output) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more != nil {
		close(o.more)
		o.more = nil
	}
}

// after returns the lines from number n on, and a channel that is closed when
// there are more.
func (o *output) after(n int) ([]string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.more == nil {
		o.more = make(chan struct{})
	}
	return o.lines[n:], o.more
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(append(o.lines[:len(o.lines):len(o.lines)], string(o.part)), "\n")
}
