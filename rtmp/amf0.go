package rtmp

import (
	"encoding/binary"
	"errors"
	"math"
)

// AMF0 markers ("Action Message Format – AMF 0", Adobe 2007, §2.1).
const (
	amfNumber      = 0x00
	amfBoolean     = 0x01
	amfString      = 0x02
	amfObject      = 0x03
	amfNull        = 0x05
	amfUndefined   = 0x06
	amfReference   = 0x07
	amfECMAArray   = 0x08
	amfObjectEnd   = 0x09
	amfStrictArray = 0x0A
	amfDate        = 0x0B
	amfLongString  = 0x0C
	amfXML         = 0x0F
	amfTyped       = 0x10
)

// Bounds of AMF0 values. Depth is what ffmpeg and GStreamer take; the others
// are far beyond what clients send.
const (
	maxAMFDepth      = 16
	maxAMFProperties = 1024
	maxAMFKey        = 255
	maxAMFString     = 16 << 10
)

var errAMF = errors.New("rtmp: malformed or excessive AMF0")

// Value is one AMF0 value: nil (null and undefined), float64, bool, string,
// Object (objects and ECMA arrays) or []Value.
type Value any

// Property is one member of an Object.
type Property struct {
	Key   string
	Value Value
}

// Object keeps its members in their order.
type Object []Property

// Get returns the first member of that name, nil without one.
func (o Object) Get(key string) Value {
	for _, p := range o {
		if p.Key == key {
			return p.Value
		}
	}
	return nil
}

func (o Object) count(key string) (n int) {
	for _, p := range o {
		if p.Key == key {
			n++
		}
	}
	return n
}

// decoder reads AMF0 values from b. It allocates by what is there, never by
// what a count says.
type decoder struct {
	b []byte
	// lenient takes the end of the message for the end of an object, as
	// metadata of some encoders needs it, and skips the rarer types.
	lenient bool
	left    int // properties and elements that may still come
	// rare tells that a value was of a type that not every origin can read.
	rare bool
}

func newDecoder(b []byte, lenient bool) *decoder {
	return &decoder{b: b, lenient: lenient, left: maxAMFProperties}
}

func (d *decoder) take(n int) ([]byte, error) {
	if n < 0 || n > len(d.b) {
		return nil, errAMF
	}
	p := d.b[:n]
	d.b = d.b[n:]
	return p, nil
}

func (d *decoder) text(sizeBytes, limit int) (string, error) {
	p, err := d.take(sizeBytes)
	if err != nil {
		return "", err
	}
	n := 0
	for _, c := range p {
		n = n<<8 | int(c)
	}
	if n > limit {
		return "", errAMF
	}
	p, err = d.take(n)
	return string(p), err
}

// value reads one value; depth is how deep it lies.
func (d *decoder) value(depth int) (Value, error) {
	if depth > maxAMFDepth {
		return nil, errAMF
	}
	marker, err := d.take(1)
	if err != nil {
		return nil, err
	}
	switch marker[0] {
	case amfNumber:
		p, err := d.take(8)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(p)), nil
	case amfBoolean:
		p, err := d.take(1)
		if err != nil {
			return nil, err
		}
		return p[0] != 0, nil
	case amfString:
		return asValue(d.text(2, maxAMFString))
	case amfNull, amfUndefined:
		return nil, nil
	case amfObject:
		return asValue(d.object(depth))
	case amfECMAArray:
		if _, err := d.take(4); err != nil { // a hint that lies
			return nil, err
		}
		return asValue(d.object(depth))
	case amfStrictArray:
		return asValue(d.array(depth))
	}
	if !d.lenient {
		return nil, errAMF
	}
	d.rare = true
	return d.rareValue(marker[0], depth)
}

// asValue keeps a nil of a concrete type out of a Value.
func asValue[T any](v T, err error) (Value, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// rareValue reads what only data messages may hold, and gives what every
// origin can read in its place.
func (d *decoder) rareValue(marker byte, depth int) (Value, error) {
	switch marker {
	case amfDate:
		p, err := d.take(8 + 2)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(binary.BigEndian.Uint64(p)), nil
	case amfLongString, amfXML:
		return asValue(d.text(4, maxAMFString))
	case amfReference:
		_, err := d.take(2)
		return nil, err
	case amfTyped:
		if _, err := d.text(2, maxAMFKey); err != nil {
			return nil, err
		}
		return asValue(d.object(depth))
	}
	return nil, errAMF
}

// object reads members up to the end marker.
func (d *decoder) object(depth int) (Object, error) {
	o := Object{}
	for {
		if d.lenient && len(d.b) == 0 {
			d.rare = true
			return o, nil
		}
		key, err := d.text(2, maxAMFKey)
		if err != nil {
			return nil, err
		}
		if key == "" {
			end, err := d.take(1)
			if err != nil || end[0] != amfObjectEnd {
				return nil, errAMF
			}
			return o, nil
		}
		if d.left--; d.left < 0 {
			return nil, errAMF
		}
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		o = append(o, Property{key, v})
	}
}

func (d *decoder) array(depth int) ([]Value, error) {
	p, err := d.take(4)
	if err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(p)
	if uint64(n) > uint64(d.left) || int(n) > len(d.b) {
		return nil, errAMF
	}
	d.left -= int(n)
	list := []Value{}
	for range n {
		v, err := d.value(depth + 1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// all reads every value of a message.
func (d *decoder) all() ([]Value, error) {
	var list []Value
	for len(d.b) > 0 {
		if d.left--; d.left < 0 {
			return nil, errAMF
		}
		v, err := d.value(1)
		if err != nil {
			return nil, err
		}
		list = append(list, v)
	}
	return list, nil
}

// appendAMF appends values, in the types that every peer reads.
func appendAMF(b []byte, values ...Value) []byte {
	for _, v := range values {
		switch v := v.(type) {
		case nil:
			b = append(b, amfNull)
		case float64:
			b = binary.BigEndian.AppendUint64(append(b, amfNumber), math.Float64bits(v))
		case int:
			b = binary.BigEndian.AppendUint64(append(b, amfNumber), math.Float64bits(float64(v)))
		case bool:
			b = append(b, amfBoolean, 0)
			if v {
				b[len(b)-1] = 1
			}
		case string:
			b = appendText(append(b, amfString), v)
		case Object:
			b = append(b, amfObject)
			for _, p := range v {
				b = appendAMF(appendText(b, p.Key), p.Value)
			}
			b = append(b, 0, 0, amfObjectEnd)
		case []Value:
			b = binary.BigEndian.AppendUint32(append(b, amfStrictArray), uint32(len(v)))
			b = appendAMF(b, v...)
		default:
			panic("rtmp: appendAMF of an unknown type")
		}
	}
	return b
}

// appendText appends s with its length; s is bounded by whoever made it.
func appendText(b []byte, s string) []byte {
	s = s[:min(len(s), math.MaxUint16)]
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}
