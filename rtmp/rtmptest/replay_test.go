package rtmptest_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"rtmps-edge/internal/corpus"
	. "rtmps-edge/rtmp/rtmptest"
)

func TestReplayOfEveryPublisher(t *testing.T) {
	for _, s := range corpus.Publishing(t) {
		for i, c := range s.Conns() {
			t.Run(fmt.Sprintf("%s/%d", s.Name, i+1), func(t *testing.T) {
				t.Parallel()
				replayOne(t, s, c.C2S)
			})
		}
	}
}

func replayOne(t *testing.T, s corpus.Session, c2s []byte) {
	o := NewOrigin(t, OriginConfig{Mode: Lenient, MSID: 1, ChunkSize: 4096})
	got, err := Replay(dial(t, o), c2s)
	if err != nil {
		t.Fatal(err)
	}
	if got.Sent != len(c2s) {
		t.Errorf("%d of %d bytes sent", got.Sent, len(c2s))
	}
	noBreaches(t, got.Breaches)
	c := o.Conn(t, 0)
	if _, err := c.WaitEnd(); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Raw(), c2s) {
		t.Error("the origin got other bytes than the transcript has")
	}
	if len(c2s) <= HandshakeLen {
		return
	}
	want, _, err := Parse(c2s[HandshakeLen:], Lenient)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.Media(), MediaOf(want)) {
		t.Error("the origin got other media than the transcript has")
	}
	for _, n := range c.Names() {
		if n.Name != s.Stream {
			t.Errorf("%s carries %q, want %q", n.Command, n.Name, s.Stream)
		}
	}
}

func TestReplayOfEveryPlayer(t *testing.T) {
	for _, s := range corpus.Playing(t) {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			tr, err := PlayTranscript(s.S2C)
			if err != nil {
				t.Fatal(err)
			}
			want := MediaOf(tr.Messages)
			o := NewOrigin(t, OriginConfig{Mode: Lenient, Transcript: tr})
			got, err := ReplayPlay(dial(t, o), s.C2S, len(want))
			if err != nil {
				t.Fatal(err)
			}
			if media := MediaOf(got.Messages); !slices.Equal(media, want) {
				t.Errorf("%d media messages, want %d", len(media), len(want))
			}
		})
	}
}

func TestReplayOfATranscriptCutAnywhere(t *testing.T) {
	whole := corpus.Get(t, "obs-publish-killed-nginx").C2S
	for _, n := range []int{0, 1, 700, 1537, 2000, HandshakeLen, HandshakeLen + 5, 3300, 3435, 3447, 4000, 20000} {
		o := NewOrigin(t, OriginConfig{Mode: Lenient, MSID: 1})
		if _, err := Replay(dial(t, o), whole[:n]); err != nil {
			t.Errorf("cut at %d: %v", n, err)
		}
		c := o.Conn(t, 0)
		if _, err := c.WaitEnd(); err != nil {
			t.Fatal(err)
		}
		if got := len(c.Raw()); got != n {
			t.Errorf("cut at %d: the origin got %d bytes", n, got)
		}
	}
}

func TestReplayReportsARefusal(t *testing.T) {
	o := NewOrigin(t, OriginConfig{Mode: Lenient, MSID: 1, RefusePublish: &StatusError{Code: "NetStream.Publish.Denied"}})
	got, err := Replay(dial(t, o), corpus.Get(t, "obs-publish-nginx").C2S)
	var refused *StatusError
	if !errors.As(err, &refused) || refused.Code != "NetStream.Publish.Denied" {
		t.Errorf("got %v", err)
	}
	if len(got.Messages) == 0 {
		t.Error("no replies")
	}
	for _, m := range o.Conn(t, 0).Messages() {
		if m.IsMedia() {
			t.Fatal("media was sent after the refusal")
		}
	}
}

func TestReplayToAServerThatIsFirstToLeave(t *testing.T) {
	s := corpus.Get(t, "obs-publish-nginx")
	o := NewOrigin(t, OriginConfig{Mode: Lenient, MSID: 1, CloseAt: "FCUnpublish"})
	if _, err := Replay(dial(t, o), s.C2S); err != nil {
		t.Error(err)
	}
	if got := len(o.Conn(t, 0).Media()); got != s.C2SCounts[TypeAudio]+s.C2SCounts[TypeVideo] {
		t.Errorf("%d media messages", got)
	}
}
