package e2e

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
)

// startLoginEdge runs an edge that knows alice by her password.
func startLoginEdge(t *testing.T, origin origin) (e *edge, password string) {
	t.Helper()
	e = prepareEdge(t, settings{Origin: origin.address(), Publish: `"password"`})
	password = e.secret()
	writeFile(t, filepath.Join(e.dir, "users.toml"), fmt.Sprintf("[[user]]\nname = \"alice\"\npassword = %q\napp = \"live\"\n", password))
	e.run(t, e.command(t, "run", "-c", filepath.Join(e.dir, "edge.toml")))
	return e, password
}

// withLogin puts a user and a password into the server's URL.
func withLogin(server, user, password string) string {
	return strings.Replace(server, "rtmps://", "rtmps://"+user+":"+password+"@", 1)
}

// Encoders log in with a user and a password, over three connections, and the
// origin sees neither these nor the stream key.
func TestLogin(t *testing.T) {
	for name, start := range map[string]func(t *testing.T, e *edge, key, password string) encoder{
		"OBS": func(t *testing.T, e *edge, key, password string) encoder {
			return newOBS(t, ca(t).pem, e.url(), key, "alice", password)
		},
		"ffmpeg": func(t *testing.T, e *edge, key, password string) encoder {
			return publishFFmpeg(t, withLogin(e.url(), "alice", password), key)
		},
		"rtmp2sink": func(t *testing.T, e *edge, key, password string) encoder {
			return commandLine{startProgram(t, "gst-launch-1.0", gstArgs("rtmp2sink", "tls-validation-flags=no-flags",
				"username=alice", "password="+password, "location="+e.url()+"/"+key)...)}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			origin := startNginx(t)
			e, password := startLoginEdge(t, origin)
			running := start(t, e, e.secret(), password)
			published(t, origin, "live/alice")
			e.record(t, "the stream's start", map[string]string{"msg": "stream started", "subject": "alice", "name": "alice"})
			if n := e.records(map[string]string{"msg": "accepted"}); n != 3 {
				t.Errorf("%d connections instead of three", n)
			}
			running.stop(t)
			e.record(t, "the stream's end", map[string]string{"msg": "stream ended", "side": "client"})
		})
	}
}

// A wrong password is the end of it, in the encoder's own words.
func TestWrongPassword(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	e, _ := startLoginEdge(t, origin)
	wrong := e.secret()

	t.Run("OBS", func(t *testing.T) {
		t.Parallel()
		o := newOBS(t, ca(t).pem, e.url(), "any", "alice", wrong)
		o.wait(t, "the end of its attempt", func(l string) bool { return strings.Contains(l, "failed: -3") })
		if s := o.status(t); s.Active || s.Reconnecting {
			t.Errorf("OBS goes on: %+v", s)
		}
	})
	t.Run("ffmpeg", func(t *testing.T) {
		t.Parallel()
		ffmpeg := publishFFmpeg(t, withLogin(e.url(), "alice", wrong), "any")
		ffmpeg.waitText(t, "Incorrect username/password")
		if code := ffmpeg.exit(t); code == 0 {
			t.Error("ffmpeg ended well")
		}
	})
	t.Run("nobody", func(t *testing.T) {
		t.Parallel()
		ffmpeg := publishFFmpeg(t, e.url(), "any")
		ffmpeg.waitText(t, "No credentials set")
		if code := ffmpeg.exit(t); code == 0 {
			t.Error("ffmpeg ended well")
		}
	})
}
