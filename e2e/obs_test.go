package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// obs is OBS on a display of its own, without a person in front of it.
type obs struct {
	*process
	display string
	port    int // of obs-websocket, which every OBS has
}

// startOBS has OBS stream as soon as it is up.
func startOBS(t testing.TB, server, key string) encoder {
	t.Helper()
	o := newOBS(t, ca(t).pem, server, key)
	o.waitText(t, "Streaming Start")
	return o
}

// newOBS starts OBS. It trusts the servers of that authority. login is a user and
// a password for "Use authentication".
func newOBS(t testing.TB, authority []byte, server, key string, login ...string) *obs {
	t.Helper()
	home := t.TempDir()
	o := &obs{display: startXvfb(t), port: freePort(t)}
	o.configure(t, home, server, key, login)
	cmd := exec.Command(program(t, "obs"), obsOptions...)
	cmd.Env = obsEnv(home, o.display)
	o.process = start(t, trusting(t, authority, cmd))
	return o
}

// obsOptions have it ask nothing. OBS 29 does not know the third, and takes it.
var obsOptions = []string{"--startstreaming", "--multi", "--disable-shutdown-check", "--disable-missing-files-check", "--verbose", "--unfiltered_log"}

// obsEnv keeps OBS away from the desktop of whoever runs the tests, and has it
// draw with the processor.
func obsEnv(home, display string) []string {
	return []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + filepath.Join(home, ".config"),
		"XDG_RUNTIME_DIR=" + filepath.Join(home, "run"), "DISPLAY=" + display, "QT_QPA_PLATFORM=xcb",
		"LIBGL_ALWAYS_SOFTWARE=1", "GALLIUM_DRIVER=llvmpipe", "LP_NUM_THREADS=1"}
}

// startXvfb starts an X server, which takes a free display and says which.
func startXvfb(t testing.TB) string {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	cmd := exec.Command(program(t, "Xvfb"), "-displayfd", "3", "-screen", "0", "640x480x24", "-nolisten", "tcp", "+extension", "GLX")
	cmd.ExtraFiles = []*os.File{w}
	p := start(t, cmd)
	_ = w.Close()
	t.Cleanup(func() { // a killed one leaves its socket and lock behind
		if p.alive() {
			p.signal(t, syscall.SIGTERM)
			p.exit(t)
		}
	})
	_ = r.SetReadDeadline(time.Now().Add(patience))
	number, err := bufio.NewReader(r).ReadString('\n')
	if err != nil {
		t.Fatalf("waited for the display of Xvfb: %v\n%s", err, p.out.String())
	}
	return ":" + strings.TrimSpace(number)
}

// configure writes what the wizard of OBS would: nothing is asked at the start.
func (o *obs) configure(t testing.TB, home, server, key string, login []string) {
	t.Helper()
	if err := os.Mkdir(filepath.Join(home, "run"), 0o700); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(home, ".config", "obs-studio")
	settings := map[string]any{"server": server, "key": key, "use_auth": false, "bwtest": false}
	if len(login) > 0 {
		settings["use_auth"], settings["username"], settings["password"] = true, login[0], login[1]
	}
	service, err := json.Marshal(map[string]any{"type": "rtmp_custom", "settings": settings})
	if err != nil {
		t.Fatal(err)
	}
	values := strings.NewReplacer("$PORT", strconv.Itoa(o.port), "$WIDTH", width, "$HEIGHT", height, "$RATE", strconv.Itoa(framesPerSecond))
	for file, text := range map[string]string{
		"global.ini":                       obsGlobal,
		"basic/profiles/edge/basic.ini":    obsProfile,
		"basic/profiles/edge/service.json": string(service),
		"basic/scenes/edge.json":           obsScene,
		// Where obs-websocket looks from OBS 30.2 on, instead of global.ini.
		"plugin_config/obs-websocket/config.json": obsWebsocket,
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o700); err != nil {
			t.Fatal(err)
		}
		writeFile(t, filepath.Join(dir, file), values.Replace(text))
	}
}

// stop ends the stream by the button, so to say.
func (o *obs) stop(t testing.TB) {
	t.Helper()
	o.request(t, "StopStream")
	o.waitText(t, "Streaming Stop")
}

// status is what OBS itself thinks of its stream.
type status struct {
	Active       bool `json:"outputActive"`
	Reconnecting bool `json:"outputReconnecting"`
}

func (o *obs) status(t testing.TB) status {
	t.Helper()
	var s status
	if err := json.Unmarshal(o.request(t, "GetStreamStatus"), &s); err != nil {
		t.Fatal(err)
	}
	return s
}

// obsRefusalTitle is that of the box that OBS shows when it was refused.
const obsRefusalTitle = "Failed to connect"

// hasWindow is an error unless a window with that title is on the display.
func (o *obs) hasWindow(t testing.TB, title string) error {
	t.Helper()
	out, err := exec.Command(program(t, "xwininfo"), "-display", o.display, "-root", "-tree").CombinedOutput()
	if err == nil && !strings.Contains(string(out), strconv.Quote(title)) {
		err = fmt.Errorf("there is only\n%s", out)
	}
	return err
}

// request asks obs-websocket, version 5, for one thing and returns its answer.
func (o *obs) request(t testing.TB, kind string) json.RawMessage {
	t.Helper()
	var answer json.RawMessage
	eventually(t, "obs-websocket", func() (err error) { // it is up before the stream, but not by much
		answer, err = o.ask(kind)
		return err
	})
	return answer
}

// obsMessage is a message of obs-websocket.
type obsMessage struct {
	Op   int `json:"op"`
	Data any `json:"d"`
}

func (o *obs) ask(kind string) (json.RawMessage, error) {
	c, err := websocket.Dial(fmt.Sprintf("ws://127.0.0.1:%d/", o.port), "obswebsocket.json", "http://localhost/")
	if err != nil {
		return nil, err
	}
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(patience))
	hello, identify, identified, request := 0, 1, 2, 6
	if err := o.expect(c, hello, nil); err != nil {
		return nil, err
	}
	if err := websocket.JSON.Send(c, obsMessage{identify, map[string]any{"rpcVersion": 1, "eventSubscriptions": 0}}); err != nil {
		return nil, err
	}
	if err := o.expect(c, identified, nil); err != nil {
		return nil, err
	}
	if err := websocket.JSON.Send(c, obsMessage{request, map[string]any{"requestType": kind, "requestId": kind}}); err != nil {
		return nil, err
	}
	return o.response(c, kind)
}

func (o *obs) response(c *websocket.Conn, kind string) (json.RawMessage, error) {
	const response = 7
	var r struct {
		Status struct {
			Result  bool   `json:"result"`
			Comment string `json:"comment"`
		} `json:"requestStatus"`
		Data json.RawMessage `json:"responseData"`
	}
	if err := o.expect(c, response, &r); err != nil {
		return nil, err
	}
	if !r.Status.Result {
		return nil, fmt.Errorf("%s: %s", kind, r.Status.Comment)
	}
	return r.Data, nil
}

// expect reads one message of that kind into data.
func (o *obs) expect(c *websocket.Conn, op int, data any) error {
	var raw json.RawMessage
	m := obsMessage{Data: &raw}
	if err := websocket.JSON.Receive(c, &m); err != nil {
		return err
	}
	if m.Op != op {
		return fmt.Errorf("obs-websocket sent op %d instead of %d: %s", m.Op, op, raw)
	}
	if data == nil {
		return nil
	}
	return json.Unmarshal(raw, data)
}

const obsGlobal = `[General]
FirstRun=true
LicenseAccepted=true
LastVersion=486539266
Pre19Defaults=false
Pre21Defaults=false
Pre23Defaults=false
Pre24.1Defaults=false
ConfirmOnExit=false
EnableAutoUpdates=false

[Basic]
Profile=edge
ProfileDir=edge
SceneCollection=edge
SceneCollectionFile=edge
ConfigOnNewProfile=true

[BasicWindow]
PreviewEnabled=false
WarnBeforeStartingStream=false
WarnBeforeStoppingStream=false
SysTrayEnabled=false

[OBSWebSocket]
FirstLoad=false
ServerEnabled=true
ServerPort=$PORT
AlertsEnabled=false
AuthRequired=false
ServerPassword=unused
`

const obsWebsocket = `{"alerts_enabled": false, "auth_required": false, "first_load": false,
 "server_enabled": true, "server_password": "unused", "server_port": $PORT}
`

// obsProfile: reconnecting is on, as it is by default, but soon.
const obsProfile = `[General]
Name=edge

[Video]
BaseCX=$WIDTH
BaseCY=$HEIGHT
OutputCX=$WIDTH
OutputCY=$HEIGHT
FPSType=1
FPSInt=$RATE

[Output]
Mode=Simple
Reconnect=true
RetryDelay=1
MaxRetries=20

[SimpleOutput]
VBitrate=200
ABitrate=64
UseAdvanced=true
Preset=ultrafast
StreamEncoder=x264
RecQuality=Stream
x264Settings=keyint=$RATE

[Audio]
SampleRate=44100
ChannelSetup=Stereo
`

const obsScene = `{"name": "edge", "current_scene": "Scene", "current_program_scene": "Scene",
 "scene_order": [{"name": "Scene"}], "current_transition": "Cut", "transition_duration": 300,
 "groups": [], "quick_transitions": [], "transitions": [], "saved_projectors": [], "modules": {},
 "sources": [
  {"id": "color_source", "versioned_id": "color_source_v3", "name": "colour", "enabled": true, "volume": 1.0, "mixers": 0,
   "settings": {"color": 4281558681, "width": 160, "height": 90}},
  {"id": "scene", "versioned_id": "scene", "name": "Scene", "enabled": true, "volume": 1.0, "mixers": 0,
   "settings": {"id_counter": 1, "custom_size": false, "items": [
    {"name": "colour", "id": 1, "visible": true, "locked": false, "align": 5, "bounds_type": 0, "bounds_align": 0,
     "pos": {"x": 20.0, "y": 20.0}, "scale": {"x": 1.0, "y": 1.0}, "bounds": {"x": 0.0, "y": 0.0}, "rot": 0.0,
     "crop_left": 0, "crop_right": 0, "crop_top": 0, "crop_bottom": 0}]}}
 ]}
`
