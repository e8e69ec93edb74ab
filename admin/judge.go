package admin

import (
	"fmt"
	"time"

	"rtmps-edge/proxy"
)

// When a stream is judged to be poor or bad.
const (
	// stillAfter is how long a stream may stand still.
	stillAfter = 5 * time.Second
	// keyframeEvery is the longest time between two keyframes with which
	// players join, and packagers cut, without trouble: twice what platforms
	// recommend, and less than what encoders do that are left to themselves.
	keyframeEvery = 5 * time.Second
	// enoughFrames is the part of the frames that the encoder promised below
	// which viewers see it.
	enoughFrames = 0.9
	// settled is how long a stream runs before its rates are judged.
	settled = 12 * time.Second
	// apart is how far picture and sound may be from each other.
	apart = time.Second
)

// Healths of a stream.
const (
	good = "good"
	poor = "poor"
	bad  = "bad"
)

// judge says how a stream does, and why so, in words for its operator.
func judge(i *proxy.Info, now time.Time) (health string, problems []string) {
	problems = []string{}
	health = good
	worse := func(to, format string, args ...any) {
		if health != bad {
			health = to
		}
		problems = append(problems, fmt.Sprintf(format, args...))
	}
	age := now.Sub(i.Since)
	if i.Silent >= stillAfter {
		worse(bad, "nothing has moved for %.0f s", i.Silent.Seconds())
	}
	if i.Action == "play" {
		return health, problems
	}
	f := &i.Facts
	if f.Frames == 0 && f.AudioBytes == 0 && age >= stillAfter {
		worse(bad, "neither video nor audio has come")
	}
	if every := max(f.KeyframeEvery, f.SinceKeyframe); every > keyframeEvery {
		worse(poor, "%.1f s between keyframes: set 2 s in the encoder", every.Seconds())
	}
	if promised := f.FrameRate; promised > 0 && i.FPS < enoughFrames*promised && f.Frames > 0 && age >= settled {
		worse(poor, "%.1f of %.1f frames per second come: the encoder or its line is too slow", i.FPS, promised)
	}
	if f.Sync > apart || f.Sync < -apart {
		worse(poor, "picture and sound are %.1f s apart", f.Sync.Abs().Seconds())
	}
	return health, problems
}
