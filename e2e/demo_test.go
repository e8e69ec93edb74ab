package e2e

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// The lines that the demo prints do what they say, as they are.
func TestDemo(t *testing.T) {
	t.Parallel()
	demo := startDemo(t)
	refused := demo.demoLine(t, "Refused") // the last of them
	publish, play := demo.demoLine(t, "Publish"), demo.demoLine(t, "Play")

	encoder := shell(t, publish)
	encoder.waitText(t, "frame=")
	player := shell(t, play)
	player.waitText(t, "Video: h264")
	demo.waitText(t, "action=play")

	shell(t, refused).waitText(t, "The stream key is not valid here.")
	encoder.mustLive(t)
	player.mustLive(t)
	demo.interrupt(t)
	if code := demo.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("the demo ended with status %d", code)
	}
}

// What the demo says is to be typed into OBS works, once OBS trusts the file
// that it names.
func TestDemoWithOBS(t *testing.T) {
	t.Parallel()
	demo := startDemo(t)
	demo.demoLine(t, "Refused")
	ca, err := os.ReadFile(strings.Fields(demo.demoLine(t, "sudo cp"))[0])
	if err != nil {
		t.Fatal(err)
	}
	o := newOBS(t, ca, demo.demoLine(t, "Server:"), demo.demoLine(t, "Stream Key:"))
	o.waitText(t, "Streaming Start")
	demo.waitText(t, "action=publish")
	play := strings.Trim(strings.TrimPrefix(demo.demoLine(t, "Play"), "ffplay "), "'")
	mustPlay(t, play)
	o.stop(t)
}

func startDemo(t testing.TB) *process {
	t.Helper()
	file, err := edgeProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(file, "demo", "--listen", "127.0.0.1:0")
	cmd.Env = append(os.Environ(), "XDG_CACHE_HOME="+t.TempDir())
	return start(t, cmd)
}

// demoLine is what the demo prints behind that word.
func (p *process) demoLine(t testing.TB, word string) string {
	t.Helper()
	line := p.wait(t, "the line "+word, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), word+" ") })
	return strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), word))
}

// shell runs a line as if it had been typed, where nobody sees or hears. exec
// keeps the shell from standing between the test and the program.
func shell(t testing.TB, line string) *process {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", "exec "+line)
	cmd.Env = append(os.Environ(), "SDL_VIDEODRIVER=dummy", "SDL_AUDIODRIVER=dummy")
	return start(t, cmd)
}
