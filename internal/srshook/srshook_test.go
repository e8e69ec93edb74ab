package srshook

import (
	"encoding/json"
	"testing"
)

func TestHookIsAsSRSMakesIt(t *testing.T) {
	b, err := json.Marshal(Hook{ServerID: "vid-1", ServiceID: "s", Action: "on_play", IP: "192.0.2.7", TcURL: "rtmp://h/live",
		PageURL: new(string)}.At("c0ffee", "live", "cam"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"server_id":"vid-1","service_id":"s","action":"on_play","client_id":"c0ffee","ip":"192.0.2.7","vhost":"__defaultVhost__",` +
		`"app":"live","tcUrl":"rtmp://h/live","stream":"cam","param":"","pageUrl":"","stream_url":"/live/cam","stream_id":"vid-c0ffee"}`
	if string(b) != want {
		t.Errorf("got  %s\nwant %s", b, want)
	}
}
