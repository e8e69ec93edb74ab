package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// peer is a program that runs with a configuration of the harness.
type peer struct {
	kind
	addr  string
	admin string // where the edge can be looked at; "" = nowhere
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended
	dir   string
}

func (p *peer) pid() int { return p.cmd.Process.Pid }

// start runs a peer on proxyCore in a directory of its own below base, and
// waits until it accepts connections.
func start(k kind, base, origin string, w wants) (*peer, error) {
	dir, err := os.MkdirTemp(base, k.name+"-")
	if err != nil {
		return nil, err
	}
	listen, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s := site{dir: dir, listen: listen, origin: origin, wants: w}
	if w.look {
		if s.admin, err = freeAddress(); err != nil {
			return nil, err
		}
	}
	if err := writeFiles(base, s, k.files(s)); err != nil {
		return nil, err
	}
	p := &peer{kind: k, addr: listen, admin: s.admin, dir: dir, done: make(chan struct{})}
	if err := p.launch(k.args(s)); err != nil {
		return nil, fmt.Errorf("%s: %w", k.name, err)
	}
	return p, p.awaitListening()
}

// writeFiles adds the certificate, which is the same for all.
func writeFiles(base string, s site, files map[string]string) error {
	for _, name := range []string{"cert.pem", "key.pem", "both.pem"} {
		b, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			return err
		}
		files = withFile(files, name, string(b))
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

func withFile(files map[string]string, name, text string) map[string]string {
	if files == nil {
		files = map[string]string{}
	}
	files[name] = text
	return files
}

func freeAddress() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

func (p *peer) launch(args []string) error {
	binary := p.binary
	if binary == "" {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		binary = self
	}
	out, err := os.Create(filepath.Join(p.dir, "output"))
	if err != nil {
		return err
	}
	defer out.Close()
	command := append(pinned(proxyCore), binary)
	command = append(command, args...)
	p.cmd = exec.Command(command[0], command[1:]...)
	p.cmd.Dir, p.cmd.Stdout, p.cmd.Stderr = p.dir, out, out
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.SysProcAttr = notOutliving()
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go func() { p.cmd.Wait(); close(p.done) }()
	return nil
}

func (p *peer) awaitListening() error {
	for range 500 {
		if c, err := net.Dial("tcp", p.addr); err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended at once: %s", p.name, p.lastWords())
		case <-time.After(20 * time.Millisecond):
		}
	}
	p.stop()
	return fmt.Errorf("%s does not listen: %s", p.name, p.lastWords())
}

// lastWords is what a peer printed, for an error.
func (p *peer) lastWords() string {
	b, _ := os.ReadFile(filepath.Join(p.dir, "output"))
	e, _ := os.ReadFile(filepath.Join(p.dir, "error.log"))
	all := string(b) + string(e)
	return all[max(0, len(all)-1000):]
}

func (p *peer) stop() {
	if p.cmd == nil {
		return
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(2 * time.Second):
		p.cmd.Process.Kill()
		<-p.done
	}
}

// alive says whether the peer still runs, with its last words if it doesn't.
func (p *peer) alive() error {
	if p.cmd == nil {
		return nil
	}
	select {
	case <-p.done:
		return errors.New(p.name + " ended: " + p.lastWords())
	default:
		return nil
	}
}
