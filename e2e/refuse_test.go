package e2e

import (
	"strings"
	"testing"
)

// ffmpeg prints why it was refused, in our words; the origin hears nothing of it.
func TestRefusalIsTold(t *testing.T) {
	alice := newKey("alice")
	for _, r := range []struct {
		name, app, key string
		says           string
		stage, reason  string
	}{
		{"wrong key", "live", "not-" + alice.text, "The stream key is not valid here.", "authorize", "denied"},
		{"no key", "live", "", "The stream key is not valid here.", "authorize", "denied"},
		{"unknown app", "wrong", alice.text, "an application that does not exist here.", "authorize", "unknown app"},
	} {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			e := startEdge(t, settings{Origin: freeAddress(t)}, alice)
			ffmpeg := publishFFmpeg(t, strings.TrimSuffix(e.url(), "live")+r.app, r.key)
			if code := ffmpeg.exit(t); code == 0 {
				t.Error("ffmpeg ended well")
			}
			if said := ffmpeg.out.String(); !strings.Contains(said, r.says) {
				t.Errorf("ffmpeg did not print %q", r.says)
			}
			e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": r.stage, "reason": r.reason})
			if sent := e.tee.bytes(); len(sent) > 0 {
				t.Errorf("the origin got %d bytes", len(sent))
			}
		})
	}
}

// What is wrong behind the edge is told too.
func TestOriginGoneIsTold(t *testing.T) {
	t.Parallel()
	key := newKey("alice")
	e := startEdge(t, settings{Origin: freeAddress(t), NoTee: true}, key)
	ffmpeg := publishFFmpeg(t, e.url(), key.text)
	ffmpeg.waitText(t, "The streaming server behind this address is not available.")
	e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "origin", "subject": key.subject})
	ffmpeg.exit(t)
}

// The second publisher of a name hears that there is one; the first goes on.
func TestSecondPublisherIsTold(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	key := newKey("alice")
	e := startEdge(t, settings{Origin: origin.address()}, key)
	first := publishFFmpeg(t, e.url(), key.text)
	published(t, origin, "live/"+key.name)

	second := publishFFmpeg(t, e.url(), key.text)
	second.waitText(t, "already being published")
	second.exit(t)
	flows(t, origin, "live/"+key.name)
	first.mustLive(t)
}

// Nobody plays unless edge.toml says so.
func TestPlayIsRefusedByDefault(t *testing.T) {
	t.Parallel()
	e := startEdge(t, settings{Origin: freeAddress(t)}, newKey("alice"))
	player := startProgram(t, "ffmpeg", "-hide_banner", "-nostdin", "-i", e.url()+"/show", "-f", "null", "-")
	player.waitText(t, "This stream may not be played")
	if code := player.exit(t); code == 0 {
		t.Error("ffmpeg ended well")
	}
}

// OBS shows its box about the stream key, once, and does not try again.
func TestWrongKeyStopsOBS(t *testing.T) {
	t.Parallel()
	e := startEdge(t, settings{Origin: freeAddress(t)}, newKey("alice"))
	e.stopsOBS(t, newOBS(t, ca(t).pem, e.url(), e.secret()))
}

// stopsOBS waits until o has given up, for good, because of its stream key.
func (e *edge) stopsOBS(t testing.TB, o *obs) {
	t.Helper()
	// -3 is what OBS shows "Could not access the specified channel or stream key" for.
	o.wait(t, "the end of its attempt", func(l string) bool {
		return strings.Contains(l, "failed: -3")
	})
	e.record(t, "the refusal", map[string]string{"msg": "refused", "stage": "authorize", "reason": "denied"})
	eventually(t, "the box of OBS", func() error { return o.hasWindow(t, obsRefusalTitle) })
	if s := o.status(t); s.Active || s.Reconnecting {
		t.Errorf("OBS goes on: %+v", s)
	}
	if n := e.records(map[string]string{"msg": "accepted"}); n != 1 {
		t.Errorf("OBS connected %d times", n)
	}
}
