package admin

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"strconv"
	"time"
)

// What there may be thousands of is written field by field: by reflection, that
// takes several times as long. Tests hold it against encoding/json.

// appendSession appends what json.Marshal makes of s.
func appendSession(b []byte, s *Session) []byte {
	b = jsonText(b, `{"id":`, s.ID)
	b = jsonText(b, `,"action":`, s.Action)
	b = jsonText(b, `,"subject":`, s.Subject)
	b = jsonText(b, `,"app":`, s.App)
	b = jsonText(b, `,"name":`, s.Name)
	b = jsonText(b, `,"key":`, s.Key)
	b = jsonText(b, `,"client":`, s.Client)
	b = jsonText(b, `,"listener":`, s.Listener)
	b = jsonText(b, `,"server_name":`, s.ServerName)
	b = jsonText(b, `,"tls":`, s.TLS)
	b = jsonText(b, `,"authorizer":`, s.Authorizer)
	b = jsonText(b, `,"origin":`, s.Origin)
	b = jsonText(b, `,"server":`, s.Server)
	b = jsonTime(b, `,"since":`, s.Since)
	b = jsonFloat(b, `,"seconds":`, s.Seconds)
	b = jsonInt(b, `,"bytes_in":`, s.BytesIn)
	b = jsonInt(b, `,"bytes_out":`, s.BytesOut)
	b = jsonInt(b, `,"bitrate":`, s.Bitrate)
	b = jsonInt(b, `,"bitrate_10s":`, s.Bitrate10)
	b = jsonFloat(b, `,"silent_seconds":`, s.SilentSeconds)
	b = jsonText(b, `,"video":`, s.Video)
	b = jsonText(b, `,"video_profile":`, s.VideoProfile)
	b = jsonInt(b, `,"width":`, int64(s.Width))
	b = jsonInt(b, `,"height":`, int64(s.Height))
	b = jsonFloat(b, `,"fps":`, s.FPS)
	b = jsonFloat(b, `,"frame_rate":`, s.FrameRate)
	b = jsonFloat(b, `,"keyframe_seconds":`, s.KeyframeSeconds)
	b = jsonText(b, `,"audio":`, s.Audio)
	b = jsonInt(b, `,"sample_rate":`, int64(s.SampleRate))
	b = jsonInt(b, `,"channels":`, int64(s.Channels))
	b = jsonInt(b, `,"video_tracks":`, int64(s.VideoTracks))
	b = jsonInt(b, `,"audio_tracks":`, int64(s.AudioTracks))
	b = jsonFloat(b, `,"sync_seconds":`, s.SyncSeconds)
	b = strconv.AppendUint(append(b, `,"time_jumps":`...), s.TimeJumps, 10)
	b = jsonInt(b, `,"dropped_data":`, s.DroppedData)
	b = strconv.AppendBool(append(b, `,"held":`...), s.Held)
	b = jsonText(b, `,"encoder":`, s.Encoder)
	b = jsonText(b, `,"flash_ver":`, s.FlashVer)
	b = jsonText(b, `,"health":`, s.Health)
	b = append(b, `,"problems":[`...)
	for i, text := range s.Problems {
		b = jsonText(b, comma(i), text)
	}
	return append(b, "]}"...)
}

// appendBan appends what json.Marshal makes of v.
func appendBan(b []byte, v *Ban) []byte {
	b = jsonText(b, `{"network":`, v.Network)
	b = jsonTime(b, `,"since":`, v.Since)
	b = jsonTime(b, `,"until":`, v.Until)
	b = jsonText(b, `,"why":`, v.Why)
	b = jsonInt(b, `,"count":`, int64(v.Count))
	b = strconv.AppendBool(append(b, `,"by_hand":`...), v.ByHand)
	return append(b, '}')
}

// comma is before the i-th of a list.
func comma(i int) string {
	if i == 0 {
		return ""
	}
	return ","
}

func jsonText(b []byte, key, v string) []byte {
	b = append(b, key...)
	if plain(v) {
		b = append(b, '"')
		b = append(b, v...)
		return append(b, '"')
	}
	text, _ := json.Marshal(v) // no text fails
	return append(b, text...)
}

// plain reports whether a text stands in JSON and XML as it is.
func plain(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c < ' ', c >= 0x7F, c == '"', c == '\\', c == '<', c == '>', c == '&', c == '\'':
			return false
		}
	}
	return true
}

func jsonInt(b []byte, key string, v int64) []byte {
	return strconv.AppendInt(append(b, key...), v, 10)
}

// jsonFloat is for what has few digits behind the point, as all that is rounded.
func jsonFloat(b []byte, key string, v float64) []byte {
	return strconv.AppendFloat(append(b, key...), v, 'f', -1, 64)
}

func jsonTime(b []byte, key string, v time.Time) []byte {
	b = append(append(b, key...), '"')
	return append(v.AppendFormat(b, time.RFC3339Nano), '"')
}

// xmlText appends an element with a text.
func xmlText(b []byte, name, v string) []byte {
	b = xmlOpen(b, name)
	if plain(v) {
		b = append(b, v...)
	} else {
		var text bytes.Buffer
		_ = xml.EscapeText(&text, []byte(v)) // a Buffer does not fail
		b = append(b, text.Bytes()...)
	}
	return xmlClose(b, name)
}

func xmlInt(b []byte, name string, v int64) []byte {
	return xmlClose(strconv.AppendInt(xmlOpen(b, name), v, 10), name)
}

// xmlIf appends an element that is there or not.
func xmlIf(b []byte, name string, yes bool) []byte {
	if yes {
		b = xmlClose(xmlOpen(b, name), name)
	}
	return b
}

// xmlNotZero appends an element that is left out if there is nothing to say.
func xmlNotZero(b []byte, name string, v int) []byte {
	if v != 0 {
		b = xmlInt(b, name, int64(v))
	}
	return b
}

func xmlOpen(b []byte, name string) []byte {
	return append(append(append(b, '<'), name...), '>')
}

func xmlClose(b []byte, name string) []byte {
	return append(append(append(b, "</"...), name...), '>')
}
