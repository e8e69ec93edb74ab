package admin

import (
	"strings"
	"testing"
	"time"

	"rtmps-edge/proxy"
)

func TestJudge(t *testing.T) {
	t.Parallel()
	now := time.Now()
	well := proxy.Info{Action: "publish", Since: now.Add(-time.Minute), FPS: 29.5}
	well.Facts.Frames, well.Facts.AudioBytes, well.Facts.FrameRate, well.Facts.KeyframeEvery = 1000, 1000, 30, 2*time.Second
	for _, c := range []struct {
		what   string
		change func(*proxy.Info)
		health string
		why    string
	}{
		{"well", func(*proxy.Info) {}, good, ""},
		{"silent", func(i *proxy.Info) { i.Silent = 5 * time.Second }, bad, "nothing has moved for 5 s"},
		{"almost silent", func(i *proxy.Info) { i.Silent = 4 * time.Second }, good, ""},
		{"rare keyframes", func(i *proxy.Info) { i.Facts.KeyframeEvery = 8300 * time.Millisecond }, poor, "8.3 s between keyframes"},
		{"no keyframe any more", func(i *proxy.Info) { i.Facts.SinceKeyframe = 20 * time.Second }, poor, "20.0 s between keyframes"},
		{"slow", func(i *proxy.Info) { i.FPS = 20 }, poor, "20.0 of 30.0 frames"},
		{"slow at first", func(i *proxy.Info) { i.FPS, i.Since = 20, now.Add(-10*time.Second) }, good, ""},
		{"apart", func(i *proxy.Info) { i.Facts.Sync = -1500 * time.Millisecond }, poor, "1.5 s apart"},
		{"sound only", func(i *proxy.Info) { i.Facts.Frames, i.Facts.FrameRate, i.FPS = 0, 30, 0 }, good, ""},
		{"nothing comes", func(i *proxy.Info) { i.Facts.Frames, i.Facts.AudioBytes = 0, 0 }, bad, "neither video nor audio"},
		{"slow and silent", func(i *proxy.Info) { i.FPS, i.Silent = 1, time.Minute }, bad, "too slow"},
		{"a player", func(i *proxy.Info) { i.Action, i.Facts.KeyframeEvery = "play", time.Minute }, good, ""},
		{"a silent player", func(i *proxy.Info) { i.Action, i.Silent = "play", time.Minute }, bad, "60 s"},
	} {
		i := well
		c.change(&i)
		health, problems := judge(&i, now)
		if health != c.health || !strings.Contains(strings.Join(problems, "; "), c.why) || problems == nil || (len(problems) == 0) != (c.why == "") {
			t.Errorf("%s: %s, %q", c.what, health, problems)
		}
	}
}
