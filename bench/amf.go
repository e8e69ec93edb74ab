package main

import (
	"encoding/binary"
	"errors"
	"math"
)

// The harness speaks RTMP with code of its own, so that a fault in the edge's
// packages cannot hide on both ends of a measurement.

// pair is one property of an AMF0 object; a slice keeps the order on the wire.
type pair struct {
	key   string
	value any
}

// appendAMF appends values as AMF0: string, float64, bool, nil, []pair.
func appendAMF(b []byte, values ...any) []byte {
	for _, v := range values {
		b = appendValue(b, v)
	}
	return b
}

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case float64:
		return binary.BigEndian.AppendUint64(append(b, 0), math.Float64bits(v))
	case bool:
		if v {
			return append(b, 1, 1)
		}
		return append(b, 1, 0)
	case string:
		return appendText(append(b, 2), v)
	case []pair:
		b = append(b, 3)
		for _, p := range v {
			b = appendValue(appendText(b, p.key), p.value)
		}
		return append(b, 0, 0, 9)
	}
	return append(b, 5)
}

func appendText(b []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...)
}

var errAMF = errors.New("malformed AMF0")

// parseAMF reads every value of b. Objects come back as map[string]any.
func parseAMF(b []byte) (values []any, err error) {
	for len(b) > 0 {
		var v any
		if v, b, err = parseValue(b); err != nil {
			return values, err
		}
		values = append(values, v)
	}
	return values, nil
}

func parseValue(b []byte) (any, []byte, error) {
	kind, b := b[0], b[1:]
	switch {
	case kind == 0 && len(b) >= 8:
		return math.Float64frombits(binary.BigEndian.Uint64(b)), b[8:], nil
	case kind == 1 && len(b) >= 1:
		return b[0] != 0, b[1:], nil
	case kind == 2:
		return parseText(b)
	case kind == 3:
		return parseObject(b)
	case kind == 8 && len(b) >= 4:
		return parseObject(b[4:])
	case kind == 5 || kind == 6:
		return nil, b, nil
	}
	return nil, nil, errAMF
}

func parseText(b []byte) (any, []byte, error) {
	if len(b) < 2 {
		return nil, nil, errAMF
	}
	n := int(binary.BigEndian.Uint16(b))
	if len(b) < 2+n {
		return nil, nil, errAMF
	}
	return string(b[2 : 2+n]), b[2+n:], nil
}

func parseObject(b []byte) (any, []byte, error) {
	object := map[string]any{}
	for {
		key, rest, err := parseText(b)
		if err != nil || len(rest) == 0 {
			return nil, nil, errAMF
		}
		if key == "" && rest[0] == 9 {
			return object, rest[1:], nil
		}
		var v any
		if v, b, err = parseValue(rest); err != nil {
			return nil, nil, err
		}
		object[key.(string)] = v
	}
}
