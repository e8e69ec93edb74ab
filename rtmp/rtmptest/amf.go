package rtmptest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
)

// AMF0 values as Go values:
//
//	number        float64 (int is taken by the encoder too)
//	boolean       bool
//	string        string (longer than 65,535 bytes: long string)
//	null          nil
//	undefined     Undefined{}
//	object        Object
//	ECMA array    ECMAArray
//	strict array  []any
//	date          Date
//	ready bytes   Raw (encoder only)

// Property is one key with its value.
type Property struct {
	Key   string
	Value any
}

// Object is an AMF0 object. Its order is kept, and so are duplicate keys.
type Object []Property

// Get gives the first value under key, nil if there is none.
func (o Object) Get(key string) any {
	for _, p := range o {
		if p.Key == key {
			return p.Value
		}
	}
	return nil
}

// Str gives the first value under key, "" if that is no string.
func (o Object) Str(key string) string {
	s, _ := o.Get(key).(string)
	return s
}

// ECMAArray is an AMF0 associative array.
type ECMAArray []Property

// Undefined is the AMF0 value of that name.
type Undefined struct{}

// Date is milliseconds since 1970; the time zone is written as 0.
type Date float64

// Raw is written as it is: for bytes that no honest encoder would write.
type Raw []byte

// AMF encodes values one after another. It panics on a type that has no AMF0
// form: that is a fault of the test.
func AMF(values ...any) []byte {
	var b []byte
	for _, v := range values {
		b = appendAMF(b, v)
	}
	return b
}

func appendAMF(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(b, 5)
	case Undefined:
		return append(b, 6)
	case int:
		return appendNumber(append(b, 0), float64(v))
	case float64:
		return appendNumber(append(b, 0), v)
	case bool:
		if v {
			return append(b, 1, 1)
		}
		return append(b, 1, 0)
	case string:
		return appendString(b, v)
	case Object:
		return appendProperties(append(b, 3), v)
	case ECMAArray:
		b = binary.BigEndian.AppendUint32(append(b, 8), uint32(len(v)))
		return appendProperties(b, v)
	case []any:
		b = binary.BigEndian.AppendUint32(append(b, 10), uint32(len(v)))
		return append(b, AMF(v...)...)
	case Date:
		return append(appendNumber(append(b, 11), float64(v)), 0, 0)
	case Raw:
		return append(b, v...)
	}
	panic(fmt.Sprintf("rtmptest: no AMF0 for %T", v))
}

func appendNumber(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(b, math.Float64bits(f))
}

func appendString(b []byte, s string) []byte {
	if len(s) > math.MaxUint16 {
		return append(binary.BigEndian.AppendUint32(append(b, 12), uint32(len(s))), s...)
	}
	return appendKey(append(b, 2), s)
}

func appendKey(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

func appendProperties(b []byte, ps []Property) []byte {
	for _, p := range ps {
		b = appendAMF(appendKey(b, p.Key), p.Value)
	}
	return append(b, 0, 0, 9)
}

var errShortAMF = errors.New("AMF0 ends in the middle of a value")

// maxAMFDepth is far above what anybody sends and keeps the decoder's own
// stack small.
const maxAMFDepth = 64

// DecodeAMF decodes all values of b. It is strict: an object without its end,
// an unknown marker and bytes left over are errors.
func DecodeAMF(b []byte) ([]any, error) {
	d := amfDecoder{b: b}
	var out []any
	for len(d.b) > 0 && d.err == nil {
		out = append(out, d.value(0))
	}
	return out, d.err
}

// amfDecoder keeps the first error and gives zero values after it.
type amfDecoder struct {
	b   []byte
	err error
}

func (d *amfDecoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
	d.b = nil
}

func (d *amfDecoder) take(n int) []byte {
	if d.err != nil || n > len(d.b) {
		d.fail(errShortAMF)
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *amfDecoder) uint(n int) int {
	v := 0
	for _, c := range d.take(n) {
		v = v<<8 | int(c)
	}
	return v
}

func (d *amfDecoder) number() float64 {
	if b := d.take(8); b != nil {
		return math.Float64frombits(binary.BigEndian.Uint64(b))
	}
	return 0
}

func (d *amfDecoder) value(depth int) any {
	if depth > maxAMFDepth {
		d.fail(errors.New("AMF0 is nested too deep"))
		return nil
	}
	switch marker := d.uint(1); marker {
	case 0:
		return d.number()
	case 1:
		return d.uint(1) != 0
	case 2:
		return string(d.take(d.uint(2)))
	case 3:
		return Object(d.properties(depth))
	case 5:
		return nil
	case 6:
		return Undefined{}
	case 8:
		d.take(4) // the count is only a hint
		return ECMAArray(d.properties(depth))
	case 10:
		return d.array(depth)
	case 11:
		v := Date(d.number())
		d.take(2)
		return v
	case 12:
		return string(d.take(d.uint(4)))
	default:
		d.fail(fmt.Errorf("AMF0 marker %d", marker))
		return nil
	}
}

func (d *amfDecoder) properties(depth int) []Property {
	out := []Property{}
	for d.err == nil {
		key := string(d.take(d.uint(2)))
		if key == "" && len(d.b) > 0 && d.b[0] == 9 {
			d.take(1)
			return out
		}
		if key == "" {
			d.fail(errors.New("AMF0 property without a key"))
		}
		out = append(out, Property{key, d.value(depth + 1)})
	}
	return out
}

func (d *amfDecoder) array(depth int) []any {
	out := []any{}
	for n := d.uint(4); n > 0 && d.err == nil; n-- {
		out = append(out, d.value(depth+1))
	}
	return out
}
