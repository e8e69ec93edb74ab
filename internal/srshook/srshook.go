// Package srshook is the body of SRS's http_hooks, which the edge sends both to
// ask and to tell.
package srshook

// Vhost is the only virtual host: the edge's routes stand for others.
const Vhost = "__defaultVhost__"

// Hook has the fields of on_publish, on_unpublish, on_play and on_stop, in SRS's order.
type Hook struct {
	ServerID  string  `json:"server_id"`
	ServiceID string  `json:"service_id"`
	Action    string  `json:"action"`
	ClientID  string  `json:"client_id"`
	IP        string  `json:"ip"`
	Vhost     string  `json:"vhost"`
	App       string  `json:"app"`
	TcURL     string  `json:"tcUrl"`
	Stream    string  `json:"stream"`
	Param     string  `json:"param"`
	PageURL   *string `json:"pageUrl,omitempty"` // on_play only
	StreamURL string  `json:"stream_url"`
	StreamID  string  `json:"stream_id"`
}

// At returns h with what follows from a session's id, app and stream name.
func (h Hook) At(session, app, stream string) Hook {
	h.ClientID, h.App, h.Stream, h.Vhost = session, app, stream, Vhost
	h.StreamURL = "/" + app + "/" + stream // SRS leaves its default host out
	h.StreamID = "vid-" + session
	return h
}
