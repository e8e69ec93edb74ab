package admin

import "time"

// Session is one stream in the API. Texts that come from the client are its own.
type Session struct {
	ID         string    `json:"id"`
	Action     string    `json:"action"`
	Subject    string    `json:"subject"`
	App        string    `json:"app"`
	Name       string    `json:"name"` // "" = it may be a credential
	Key        string    `json:"key"`  // a fingerprint that stands for the credential of who has no subject
	Client     string    `json:"client"`
	Listener   string    `json:"listener"`
	ServerName string    `json:"server_name"`
	TLS        string    `json:"tls"`
	Authorizer string    `json:"authorizer"`
	Origin     string    `json:"origin"`
	Server     string    `json:"server"`
	Since      time.Time `json:"since"`
	Seconds    float64   `json:"seconds"`

	BytesIn       int64   `json:"bytes_in"`
	BytesOut      int64   `json:"bytes_out"`
	Bitrate       int64   `json:"bitrate"`     // in bits per second, lately
	Bitrate10     int64   `json:"bitrate_10s"` // and over 10 seconds
	SilentSeconds float64 `json:"silent_seconds"`

	Video           string  `json:"video"` // codec, "" = none
	VideoProfile    string  `json:"video_profile"`
	Width           int     `json:"width"`
	Height          int     `json:"height"`
	FPS             float64 `json:"fps"`        // measured
	FrameRate       float64 `json:"frame_rate"` // as the encoder says
	KeyframeSeconds float64 `json:"keyframe_seconds"`
	Audio           string  `json:"audio"`
	SampleRate      int     `json:"sample_rate"`
	Channels        int     `json:"channels"`
	VideoTracks     int     `json:"video_tracks"`
	AudioTracks     int     `json:"audio_tracks"`
	SyncSeconds     float64 `json:"sync_seconds"` // the picture is ahead of the sound
	TimeJumps       uint64  `json:"time_jumps"`
	DroppedData     int64   `json:"dropped_data"`
	Held            bool    `json:"held"` // to a bit rate that it would exceed
	Encoder         string  `json:"encoder"`
	FlashVer        string  `json:"flash_ver"`

	Health   string   `json:"health"` // good, poor, bad
	Problems []string `json:"problems"`
}

// Origin is one origin in the API.
type Origin struct {
	Name    string   `json:"name"`
	Up      bool     `json:"up"`
	Servers []Server `json:"servers"`
}

// Server is one server of an origin.
type Server struct {
	Address  string `json:"address"`
	Up       bool   `json:"up"`
	Checked  bool   `json:"checked"` // by a health check
	Sessions int    `json:"sessions"`
}

// Ban is one ban in the API.
type Ban struct {
	Network string    `json:"network"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Why     string    `json:"why"`
	Count   int       `json:"count"`
	ByHand  bool      `json:"by_hand"`
}

// Near is an address that takes much of a limit.
type Near struct {
	Network     string  `json:"network"`
	Limit       string  `json:"limit"` // that it is nearest to, as edge.toml calls it
	Part        float64 `json:"part"`  // of it that it takes
	Connections int     `json:"connections"`
	Streams     int     `json:"streams"`
	Failures    int     `json:"failures"` // refused credentials
	Held        bool    `json:"held"`     // to its bit rate, which it would exceed
}

// Certificate is one that is served to clients.
type Certificate struct {
	Name      string    `json:"name"`
	Names     []string  `json:"names"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	DaysLeft  float64   `json:"days_left"`
}

// Status is the edge as a whole.
type Status struct {
	Version     string    `json:"version"`
	Commit      string    `json:"commit"`
	Started     time.Time `json:"started"`
	Seconds     float64   `json:"seconds"`
	Ready       bool      `json:"ready"`
	Reasons     []string  `json:"reasons"` // why it is not ready
	Draining    bool      `json:"draining"`
	Connections int       `json:"connections"`
	Publishers  int       `json:"publishers"`
	Players     int       `json:"players"`
	Banned      int       `json:"banned"` // addresses
	BytesIn     int64     `json:"bytes_in"`
	BytesOut    int64     `json:"bytes_out"`
	Refused     []Refused `json:"refused"`
}

// Refused counts refusals of one kind since the start.
type Refused struct {
	Stage  string    `json:"stage"`
	Reason string    `json:"reason"`
	Count  int64     `json:"count"`
	Last   time.Time `json:"last"`
}

// Event is something that happened. Fields that it has nothing to say of are
// left out.
type Event struct {
	Number     uint64    `json:"number"` // counts up
	Time       time.Time `json:"time"`
	Event      string    `json:"event"` // stream_started, stream_ended, refused, banned
	Session    string    `json:"session,omitempty"`
	Client     string    `json:"client,omitempty"`
	Listener   string    `json:"listener,omitempty"`
	ServerName string    `json:"server_name,omitempty"`
	TLS        string    `json:"tls,omitempty"`
	Encoder    string    `json:"encoder,omitempty"`
	Action     string    `json:"action,omitempty"`
	Subject    string    `json:"subject,omitempty"`
	Key        string    `json:"key,omitempty"` // a fingerprint that stands for the credential
	App        string    `json:"app,omitempty"`
	Name       string    `json:"name,omitempty"`
	Origin     string    `json:"origin,omitempty"`
	Server     string    `json:"server,omitempty"`
	Stage      string    `json:"stage,omitempty"`
	Side       string    `json:"side,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Detail     string    `json:"detail,omitempty"`
	Hint       string    `json:"hint,omitempty"` // what it means, and what can be done
	BytesIn    int64     `json:"bytes_in,omitempty"`
	BytesOut   int64     `json:"bytes_out,omitempty"`
	Seconds    float64   `json:"seconds,omitempty"`
}

// State is all that the dashboard shows, but for events. Of very many bans, it has
// those that last longest.
type State struct {
	Status       Status        `json:"status"`
	Sessions     []Session     `json:"sessions"`
	Origins      []Origin      `json:"origins"`
	Certificates []Certificate `json:"certificates"`
	Bans         []Ban         `json:"bans"`
}

// Done is the answer to a change.
type Done struct {
	Done string `json:"done"` // what was done, in words
	Ban  *Ban   `json:"ban,omitempty"`
}

// Failure is the answer to what could not be done.
type Failure struct {
	Error  string   `json:"error"`
	Faults []string `json:"faults,omitempty"` // of a configuration, one by one
}
