package rtmptest

import (
	"cmp"
	"slices"
)

// Phase is how far a session has come when an attack begins.
type Phase int

// Phases, in their order.
const (
	PhaseStart     Phase = iota // nothing is sent: the script is the handshake too
	PhaseGreeted                // after the handshake, before connect
	PhaseConnected              // connect is answered
	PhaseCreated                // releaseStream, FCPublish and createStream are answered
	PhasePublished              // NetStream.Publish.Start was said
)

// Want is what an edge has to make of an attack.
type Want int

const (
	// Closed: the edge ends the session, and what follows reaches nobody.
	Closed Want = iota
	// Survives: the session goes on, and media that follows arrives.
	Survives
	// Either: both will do, as long as the origin hears nothing wrong.
	Either
	// Refused: nothing is wrong until the client asks for the stream, which it
	// then does, and must not get.
	Refused
)

// String names what is wanted.
func (w Want) String() string { return [...]string{"closed", "survives", "either", "refused"}[w] }

// Evil is the stream name that the attacks try to reach. Only audio and video
// payloads may carry it to an origin.
const Evil = "evil"

// Target is whom an attack is played against: what the client says, and what
// the origin must be told.
type Target struct {
	App, TcURL, Name      string // what a granted publisher says
	OriginApp, OriginName string // what the origin hears of it
	// MSID is what createStream was answered; before that, 1.
	MSID uint32
}

// Attack is one script of raw bytes, sent after a normal session's beginning.
type Attack struct {
	Name  string
	Phase Phase
	// Reaches is the phase that the script itself brings the session to, if
	// that is further than Phase: it holds connect, say. The rest of a normal
	// session follows from there where the edge survives.
	Reaches Phase
	Want    Want
	// Delivers are video or audio payloads that must arrive at the origin
	// whole where the edge survives.
	Delivers [][]byte
	// Build appends the script. The builder has the chunk size that the
	// session has set.
	Build func(b *Builder, t Target)
}

// after is the phase in which the session is when the script has been sent.
func (a Attack) after() Phase { return max(a.Phase, a.Reaches) }

// Attacks gives all scripts: the deviations of real origins that a byte
// splicing or a merely watching proxy lets through, and what else must not
// harm an edge.
func Attacks() []Attack {
	return slices.Concat(handshakeAttacks(), framingAttacks(), extendedTimeAttacks(), controlAttacks(),
		connectAttacks(), nameAttacks(), laterCommandAttacks(), disguiseAttacks(), aggregateAttacks(),
		amfAttacks(), volumeAttacks())
}

// simple makes attacks of one phase and one expectation.
func simple(phase Phase, want Want, scripts scripts) []Attack {
	var out []Attack
	for name, build := range scripts {
		out = append(out, Attack{Name: name, Phase: phase, Want: want, Build: build})
	}
	slices.SortFunc(out, func(a, b Attack) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// scripts are the byte scripts by the attacks' names.
type scripts map[string]func(b *Builder, t Target)
