// Package rtmp speaks RTMP as an edge needs it: strict and bounded on what it
// reads, canonical in what it writes. Accept serves a client up to publish or
// play, Open does the same toward an origin, Relay moves the media between two
// of them without storing it. SPEC in comments is Adobe's RTMP 1.0 (2012).
package rtmp

import (
	"errors"
	"fmt"
)

// Action is what a client asked for.
type Action string

// The two actions.
const (
	Publish Action = "publish"
	Play    Action = "play"
)

// Message types (SPEC §5.4, §7.1).
const (
	typeSetChunkSize     = 1
	typeAbort            = 2
	typeAck              = 3
	typeUserControl      = 4
	typeWindowAckSize    = 5
	typeSetPeerBandwidth = 6
	typeAudio            = 8
	typeVideo            = 9
	typeDataAMF3         = 15
	typeCommandAMF3      = 17
	typeData             = 18
	typeCommand          = 20
	typeAggregate        = 22
)

// User control events (SPEC §7.1.7).
const (
	eventStreamBegin     = 0
	eventStreamEOF       = 1
	eventStreamDry       = 2
	eventSetBufferLength = 3
	eventPingRequest     = 6
	eventPingResponse    = 7
)

// Chunk streams that the edge writes on. All are below 32, the number that
// nginx-rtmp takes by default.
const (
	csidControl = 2
	csidCommand = 3
	csidData    = 4
	csidAudio   = 6
	csidVideo   = 7
)

// Limits bound what a peer may make this package hold or do. Zero fields mean
// the defaults, which no client that was tested comes near.
type Limits struct {
	// ChunkSize is the largest chunk that a peer may set, in bytes. Default
	// 65536: what MediaMTX, the largest that was met, sets.
	ChunkSize int
	// MessageSize is the longest message, in bytes. Default 16 MiB, close to
	// the most that the protocol can say.
	MessageSize int
	// FourCC lists the Enhanced RTMP codecs that the origin takes, as the
	// edge announces them. Default "*": the edge passes them all on.
	FourCC []string
}

// Limits that are not configured.
const (
	// minChunkSize: no client sets less than the protocol's default; smaller
	// ones only make work (SRS refuses them too).
	minChunkSize = 128
	// maxSetupMessage is the longest message before approval. Commands stay
	// below 2 KiB, the metadata that a hasty client sends early below 4 KiB.
	maxSetupMessage = 16 << 10
	// maxSetupBytes is all that may be received before approval.
	maxSetupBytes = 128 << 10
	// maxSetupHeld is how many bytes of begun messages are held in all before
	// approval.
	maxSetupHeld = 64 << 10
	// maxCommandMessage is the longest command or control message at any time.
	maxCommandMessage = 16 << 10
	// maxDataMessage is the longest data message. Metadata stays below 4 KiB;
	// some encoders send cue points and text of more.
	maxDataMessage = 256 << 10
	// maxChunkStreams is how many chunk streams a peer may use. Real ones use
	// up to 6.
	maxChunkStreams = 64
	// maxPartial is how many messages a peer may have begun at once.
	maxPartial = 8
	// maxHeld is how many bytes of begun or waiting messages are held in all,
	// beyond one message of the largest size.
	maxHeld = 1 << 20
	// maxSetupCommands and maxCreateStream bound the dialogue before approval.
	maxSetupCommands = 32
	maxCreateStream  = 4
	// maxApp is the longest app without its query (nginx-rtmp cuts at 255).
	maxApp = 255
	// maxNameAndQuery is the longest app with its query, and the longest stream
	// name, which may be a whole token (ffmpeg's own limit).
	maxNameAndQuery = 1024
)

// Limits by time. Each is a rate per second and what may come at once.
const (
	// chatter is for control and command messages but acknowledgements: real
	// clients send a handful in all.
	chatter, chatterAtOnce = 50, 100
	// dataRate is for data messages: captions and time codes come with each
	// frame of some encoders.
	dataRate, dataAtOnce = 250, 500
	// pongRate is for answers to pings. Pings beyond it are not answered.
	pongRate, pongsAtOnce = 5, 5
	// messageRate is for messages of all types whose mean length is below
	// meanMessage, in bytes: a message of nothing costs the sender one byte, the
	// edge some work, and the line to the origin a whole header. Silence in ten
	// audio tracks is 500 per second.
	messageRate, messagesAtOnce, meanMessage = 2000, 4096, 64
)

// serverWindow is the window that the edge asks clients to acknowledge, in
// bytes: what nginx-rtmp and Adobe's server say.
const serverWindow = 5_000_000

// outChunkSize is the chunk size that the edge writes with by default: large
// enough that headers cost nothing, and what every origin and client takes.
const outChunkSize = 65536

func (l Limits) withDefaults() Limits {
	if l.ChunkSize == 0 {
		l.ChunkSize = 65536
	}
	if l.MessageSize == 0 {
		l.MessageSize = 16 << 20
	}
	if l.FourCC == nil {
		l.FourCC = []string{"*"}
	}
	return l
}

// ProtocolError is a breach of the protocol or of a limit by the peer. Its
// text holds nothing that the peer sent but numbers.
type ProtocolError struct{ Text string }

func (e *ProtocolError) Error() string { return "rtmp: " + e.Text }

func breach(format string, args ...any) error {
	return &ProtocolError{fmt.Sprintf(format, args...)}
}

// StatusError is a refusal in RTMP's own terms: said to a client, or heard
// from an origin.
type StatusError struct {
	Code        string // as "NetStream.Publish.Denied"
	Description string // one sentence for the person at the encoder
}

func (e *StatusError) Error() string { return "rtmp: refused: " + e.Code }

// Ends of a relayed stream that are nobody's fault.
var (
	// ErrFinished: the peer said that it is done (deleteStream and the like).
	ErrFinished = errors.New("rtmp: the peer finished its stream")
	// ErrSecondStream: the client asked for another stream on its connection.
	ErrSecondStream = errors.New("rtmp: a second stream was asked for on one connection")
)
