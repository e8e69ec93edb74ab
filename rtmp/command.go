package rtmp

import (
	"math"
	"strings"
)

// call is a command message taken apart (SPEC §7.1.1).
type call struct {
	name string
	txn  float64 // 0 = no answer is expected
	args []Value // from the command object on
}

// text returns argument i as a string; ok is false for any other type.
func (c call) text(i int) (s string, ok bool) {
	if i >= len(c.args) {
		return "", false
	}
	s, ok = c.args[i].(string)
	return s, ok
}

// parseCall reads a command of type 20, or of type 17 with AMF0 in it.
func parseCall(m message) (call, error) {
	b := m.payload
	if m.typ == typeCommandAMF3 {
		if len(b) == 0 || b[0] != 0 {
			return call{}, breach("command in AMF3")
		}
		b = b[1:]
	}
	v, err := newDecoder(b, false).all()
	if err != nil {
		return call{}, breach("malformed command")
	}
	if len(v) == 0 {
		return call{}, breach("empty command")
	}
	name, ok := v[0].(string)
	if !ok || name == "" {
		return call{}, breach("command without a name")
	}
	c := call{name: name, args: v[1:]}
	if len(c.args) > 0 {
		if c.txn, ok = c.args[0].(float64); !ok || math.IsNaN(c.txn) || math.IsInf(c.txn, 0) {
			return call{}, breach("command without a transaction number")
		}
		c.args = c.args[1:]
	}
	return c, nil
}

// status makes the information object of onStatus and connect's reply. OBS
// takes an empty description for none, and looks for text in it.
func status(level, code, description string) Object {
	if description == "" {
		description = code
	}
	return Object{{"level", level}, {"code", code}, {"description", description}}
}

// onStatus makes an onStatus message for the leg's stream (SPEC §7.2.2).
func onStatus(level, code, description string) message {
	return streamCommand("onStatus", 0, nil, status(level, code, description))
}

// statusOf returns the information object of an onStatus or _error call.
func statusOf(c call) (level, code, description string) {
	for _, a := range c.args {
		if o, ok := a.(Object); ok {
			level, _ = o.Get("level").(string)
			code, _ = o.Get("code").(string)
			description, _ = o.Get("description").(string)
			if code != "" {
				return level, code, description
			}
		}
	}
	return "", "", ""
}

// Enhanced are the capabilities of Enhanced RTMP v2 in a connect command, with
// their types checked. The zero value says nothing.
type Enhanced struct {
	FourCC       []string // fourCcList
	Video, Audio Object   // videoFourCcInfoMap, audioFourCcInfoMap: numbers by FourCC
	CapsEx       float64  // capsEx
}

// maxFourCC bounds the lists: there are not twenty codes in the specification.
const maxFourCC = 64

func (e Enhanced) empty() bool {
	return e.FourCC == nil && e.Video == nil && e.Audio == nil && e.CapsEx == 0
}

// parseEnhanced takes the properties from a connect object.
func parseEnhanced(o Object) (e Enhanced, err error) {
	wrong := breach("Enhanced RTMP property of a wrong type")
	if v := o.Get("fourCcList"); v != nil {
		list, ok := v.([]Value)
		if !ok || len(list) > maxFourCC {
			return e, wrong
		}
		e.FourCC = []string{}
		for _, v := range list {
			s, ok := v.(string)
			if !ok || !isFourCC(s) {
				return e, wrong
			}
			e.FourCC = append(e.FourCC, s)
		}
	}
	if e.Video, err = fourCCMap(o.Get("videoFourCcInfoMap")); err != nil {
		return e, err
	}
	if e.Audio, err = fourCCMap(o.Get("audioFourCcInfoMap")); err != nil {
		return e, err
	}
	if v := o.Get("capsEx"); v != nil {
		n, ok := v.(float64)
		if !ok || !(n >= 0 && n < 1<<32) {
			return e, wrong
		}
		e.CapsEx = float64(uint32(n))
	}
	return e, nil
}

func fourCCMap(v Value) (Object, error) {
	if v == nil {
		return nil, nil
	}
	o, ok := v.(Object)
	if !ok || len(o) > maxFourCC {
		return nil, breach("Enhanced RTMP property of a wrong type")
	}
	for _, p := range o {
		if n, ok := p.Value.(float64); !ok || !isFourCC(p.Key) || !(n >= 0 && n < 256) || o.count(p.Key) > 1 {
			return nil, breach("Enhanced RTMP property of a wrong type")
		}
	}
	return o, nil
}

// isFourCC: four printable characters, or the "*" for all.
func isFourCC(s string) bool {
	if s == "*" {
		return true
	}
	return len(s) == 4 && !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}

// properties gives the capabilities as members of a connect object.
func (e Enhanced) properties() (o Object) {
	if e.FourCC != nil {
		list := []Value{}
		for _, s := range e.FourCC {
			list = append(list, s)
		}
		o = append(o, Property{"fourCcList", list})
	}
	if e.Video != nil {
		o = append(o, Property{"videoFourCcInfoMap", e.Video})
	}
	if e.Audio != nil {
		o = append(o, Property{"audioFourCcInfoMap", e.Audio})
	}
	if e.CapsEx != 0 {
		o = append(o, Property{"capsEx", e.CapsEx})
	}
	return o
}

// forwards is what the edge says about itself: it passes these codecs on (bit
// 4), and has none of the other capabilities.
func forwards(fourCC []string) Enhanced {
	e := Enhanced{FourCC: fourCC, Video: Object{}, Audio: Object{}}
	for _, s := range fourCC {
		e.Video = append(e.Video, Property{s, 4.0})
		e.Audio = append(e.Audio, Property{s, 4.0})
	}
	return e
}
