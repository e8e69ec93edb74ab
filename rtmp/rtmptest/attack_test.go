package rtmptest_test

import (
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	. "rtmps-edge/rtmp/rtmptest"
)

func TestAttacksAreComplete(t *testing.T) {
	names := map[string]bool{}
	wants := map[Want]int{}
	target := Target{App: "live", TcURL: "rtmp://x/live", Name: "key", OriginApp: "live", OriginName: "key", MSID: 1}
	for _, a := range Attacks() {
		if names[a.Name] {
			t.Errorf("%s stands twice", a.Name)
		}
		names[a.Name] = true
		wants[a.Want]++
		one, two := new(Builder).WithChunkSize(4096), new(Builder).WithChunkSize(4096)
		a.Build(one, target)
		a.Build(two, target)
		if one.Len() == 0 || string(one.Bytes()) != string(two.Bytes()) {
			t.Errorf("%s: %d bytes, not the same twice", a.Name, one.Len())
		}
		if len(a.Delivers) > 0 && a.Want == Closed {
			t.Errorf("%s delivers from a closed session", a.Name)
		}
	}
	if len(names) < 200 || wants[Closed] < 80 || wants[Survives] < 30 {
		t.Errorf("%d attacks: %v", len(names), wants)
	}
}

// toy is the smallest edge that withstands most of Attacks: it assembles
// whole messages, knows what it lets through, and writes all anew. It shows
// that the attacks can be withstood, and that RunAttack does not ask for more.
type toy struct {
	front, origin *Origin
	t             *testing.T

	mu    sync.Mutex
	state map[*OriginConn]*toyState
}

type toyState struct {
	connected, creates int
	out                *Publisher
}

// beyond are attacks that need limits below whole messages.
var beyond = []string{"volume-partial-messages", "volume-partial-messages-before-connect", "volume-chunk-streams"}

func newToy(t *testing.T) *toy {
	e := &toy{t: t, state: map[*OriginConn]*toyState{}}
	e.origin = NewOrigin(t, OriginConfig{})
	e.front = NewOrigin(t, OriginConfig{Mode: Lenient, MSID: 1, Judge: e.judge, Answer: e.answer})
	return e
}

func (e *toy) dial() net.Conn { return dial(e.t, e.front) }

var errToy = errors.New("refused by the toy")

// judge runs on the goroutine of c; an error ends c, and then its publisher
// has to go too.
func (e *toy) judge(c *OriginConn, m Message) error {
	e.mu.Lock()
	s := e.state[c]
	if s == nil {
		s = &toyState{}
		e.state[c] = s
		go func() {
			c.WaitEnd()
			e.mu.Lock()
			defer e.mu.Unlock()
			if s.out != nil {
				s.out.Abort()
			}
		}()
	}
	e.mu.Unlock()
	return e.message(c, s, m)
}

func (e *toy) message(c *OriginConn, s *toyState, m Message) error {
	sizes := map[uint8]int{TypeSetChunkSize: 4, TypeAbort: 4, TypeAck: 4, TypeWindowAckSize: 4, TypeSetPeerBandwidth: 5}
	if n, ok := sizes[m.Type]; ok {
		if len(m.Payload) != n || m.Type == TypeAbort && m.Payload[3] == 2 {
			return errToy
		}
		return nil
	}
	switch m.Type {
	case TypeUserControl:
		if len(m.Payload) < 2 {
			return errToy
		}
		return nil
	case TypeAudio, TypeVideo:
		return s.media(m)
	case TypeData, TypeDataAMF3:
		return s.data(m)
	case TypeCommand, TypeCommandAMF3:
		return s.command(m)
	}
	return errToy
}

func (s *toyState) media(m Message) error {
	switch {
	case s.out == nil:
		return errToy
	case m.Type == TypeAudio:
		return s.out.WriteAudio(m.Timestamp, m.Payload)
	}
	return s.out.WriteVideo(m.Timestamp, m.Payload)
}

func (s *toyState) data(m Message) error {
	v, err := m.Values()
	if err != nil || len(v) == 0 || s.out == nil {
		return nil
	}
	if name, _ := v[0].(string); !slices.Contains([]string{"@setDataFrame", "onMetaData", "|RtmpSampleAccess", "onCuePoint"}, name) {
		return nil
	}
	if v[0] == "@setDataFrame" && (len(v) < 3 || v[1] != "onMetaData") {
		return nil
	}
	return s.out.WriteData(m.Timestamp, v...)
}

// command judges; answer does.
func (s *toyState) command(m Message) error {
	cmd, ok := m.Command()
	switch {
	case !ok || len(m.Payload) > 16<<10:
		return errToy
	case s.connected == 0 && cmd.Name != "connect":
		return errToy
	case len(NamesIn([]Message{m})) == 1 && cmd.Arg(1) != "key" || cmd.Name == "play2":
		return errToy
	case s.out != nil && slices.Contains([]string{"connect", "publish", "play", "FCUnpublish", "deleteStream", "closeStream"}, cmd.Name):
		return errToy
	}
	switch cmd.Name {
	case "connect":
		s.connected++
		if s.connected > 1 || !toyConnect(ConnectIn([]Message{m})[0]) || depth(cmd.Args) > 16 {
			return errToy
		}
	case "createStream", "releaseStream":
		if s.creates++; s.creates > 4 {
			return errToy
		}
	case "play":
		return errToy
	}
	return nil
}

func toyConnect(o Object) bool {
	seen := map[string]bool{}
	for _, p := range o {
		if seen[p.Key] {
			return false
		}
		seen[p.Key] = true
	}
	_, ok := o.Get("tcUrl").(string)
	return ok && o.Str("app") == "live"
}

func depth(v any) int {
	most := 0
	switch v := v.(type) {
	case []any:
		for _, e := range v {
			most = max(most, depth(e)+1)
		}
	case Object:
		for _, p := range v {
			most = max(most, depth(p.Value)+1)
		}
	}
	return most
}

func (e *toy) answer(c *OriginConn, cmd Command, _ Message) bool {
	if cmd.Name != "publish" {
		return false
	}
	out, err := Publish(dial(e.t, e.origin), PublishConfig{App: "live", TcURL: "rtmp://origin/live", Name: "name", ChunkSize: 60000})
	if err != nil {
		e.t.Error(err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.state[c].out = out
	return false
}

func TestAttacksOnAToy(t *testing.T) {
	target := Target{App: "live", TcURL: "rtmp://x/live", Name: "key", OriginApp: "live", OriginName: "name"}
	e := newToy(t)
	for _, a := range Attacks() {
		if slices.Contains(beyond, a.Name) {
			continue
		}
		t.Run(a.Name, func(t *testing.T) { RunAttack(t, e.dial, e.origin, target, a) })
	}
}

// TestRunAttackSeesABypass plays attacks against a splice: what comes in goes
// to the origin as it is. Most of them must be found out.
func TestRunAttackSeesABypass(t *testing.T) {
	target := Target{App: "live", TcURL: "rtmp://x/live", Name: "key", OriginApp: "live", OriginName: "key"}
	for _, name := range []string{
		"publish-in-data", "later-fcpublish-evil", "closestream-in-data", "aggregate-of-media",
		"interleaved", "data-name-unknown", "control-on-another-chunk-stream",
	} {
		t.Run(name, func(t *testing.T) {
			o := NewOrigin(t, OriginConfig{Unchecked: true, MSID: 1})
			i := slices.IndexFunc(Attacks(), func(a Attack) bool { return a.Name == name })
			a := Attacks()[i]
			// A closed session would be waited for.
			a.Want, a.Delivers = Either, nil
			rec := &recorder{TB: t}
			RunAttack(rec, func() net.Conn { return dial(t, o) }, o, target, a)
			if len(rec.errs) == 0 {
				t.Error("a splice passes")
			}
		})
	}
}

// recorder keeps the errors of a check that is to fail.
type recorder struct {
	testing.TB
	errs []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.errs = append(r.errs, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.TB.Fatalf("unexpected end: %s", strings.TrimSpace(fmt.Sprintf(format, args...)))
}
