package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"rtmps-edge/admin"
)

func picturesOf(n int) admin.State {
	s := admin.State{Status: admin.Status{Version: "1", Ready: true, Refused: []admin.Refused{{Stage: "tls", Reason: "not TLS", Count: 7}}},
		Origins: []admin.Origin{{Name: "main", Servers: []admin.Server{{Address: "192.0.2.1:1935"}}}}}
	for range n {
		s.Sessions = append(s.Sessions, admin.Session{ID: "id", Action: "publish", App: "live", Name: "n\x1b[2J\nforged", Bitrate: 2_500_000, Health: "good",
			Video: "H.264", Width: 1920, Height: 1080, FPS: 29.97, KeyframeSeconds: 2, Audio: "AAC", Seconds: 90061})
	}
	s.Sessions[n-1].Health, s.Sessions[n-1].Problems, s.Sessions[n-1].Name = "bad", []string{"nothing has moved for 9 s"}, ""
	s.Sessions[n-1].Key = "f1f2f3f4"
	return s
}

func TestTopFitsTheScreen(t *testing.T) {
	var out bytes.Buffer
	top := &top{out: &out, history: map[string][]int64{}}
	s := picturesOf(100)
	top.remember(s.Sessions)
	var b bytes.Buffer
	top.draw(&b, s, 60, 20)
	lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
	if len(lines) > 20 {
		t.Errorf("%d lines on a screen of 20", len(lines))
	}
	for _, line := range lines[5:] {
		if n := utf8.RuneCountInString(line); n > 60 {
			t.Errorf("%d columns on a screen of 60: %q", n, line)
		}
	}
	text := b.String()
	for _, want := range []string{"rtmps-edge 1  ready", "refused: 7 not TLS (tls)", "origin down: main 192.0.2.1:1935", "bad", "live/key-f1f2f3f4", "… and "} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	if strings.Index(text, "bad") > strings.Index(text, "good") {
		t.Errorf("who is in trouble does not stand first:\n%s", text)
	}
	if strings.ContainsAny(text, "\x1b") || strings.Contains(text, "\nforged") {
		t.Errorf("a stranger's text is not made safe:\n%q", text)
	}
}

func TestTopOnATerminalWritesOverTheLast(t *testing.T) {
	var out bytes.Buffer
	top := &top{out: &out, live: true, times: 2, history: map[string][]int64{}}
	if !top.take(picturesOf(1)) || top.take(picturesOf(2)) {
		t.Error("not two pictures")
	}
	if text := out.String(); strings.Count(text, "\x1b[H") != 2 || !strings.HasSuffix(text, "\x1b[J") || strings.Contains(text, "[K\n\x1b[J") {
		t.Errorf("%q", text)
	}
}

func TestTopKeepsItsPace(t *testing.T) {
	var out bytes.Buffer
	top := &top{out: &out, every: time.Hour, history: map[string][]int64{}}
	for range 30 {
		top.take(picturesOf(1))
	}
	if top.shown != 1 || len(top.history["id"]) != topHistory {
		t.Errorf("%d pictures, %d bit rates", top.shown, len(top.history["id"]))
	}
	top.take(admin.State{})
	if len(top.history) != 0 {
		t.Error("what has ended is remembered")
	}
}

func TestBlocks(t *testing.T) {
	for want, values := range map[string][]int64{"": nil, "▁": {0}, "▁▅█": {0, 50, 100}, "▁█": {-9, 1}} {
		if got := blocks(values); got != want {
			t.Errorf("%v: %s, want %s", values, got, want)
		}
	}
}

func TestTableColours(t *testing.T) {
	t.Setenv("NO_COLOR", "1")
	var b bytes.Buffer
	showSessions(&b, picturesOf(2).Sessions)
	if got := b.String(); !strings.HasPrefix(got, "ID ") || strings.Count(got, "\n") != 3 || !strings.Contains(got, "1d1h") || !strings.Contains(got, "2.50 Mbit/s") || !strings.Contains(got, "H.264 1920x1080") {
		t.Error(got)
	}
}
