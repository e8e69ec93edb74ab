package ratelimit

import "rtmps-edge/internal/bitrate"

// MaxBitrate is the largest Bitrate, in bits per second.
const MaxBitrate Bitrate = bitrate.Max

// Bitrate is in bits per second; 0 means no limit.
type Bitrate int64

// ParseBitrate reads "8Mbit", "2.5Mbit", "500kbit", "1Gbit", "8000" or "0":
// SI units, letter case matters, no space, no fraction of a bit, at most
// MaxBitrate. The error says so without repeating s.
func ParseBitrate(s string) (Bitrate, error) {
	n, err := bitrate.Parse(s)
	return Bitrate(n), err
}

// String gives what ParseBitrate reads.
func (b Bitrate) String() string { return bitrate.Format(int64(b)) }

// MarshalText gives what ParseBitrate reads.
func (b Bitrate) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// UnmarshalText is ParseBitrate. After an error, b is as before.
func (b *Bitrate) UnmarshalText(text []byte) error {
	n, err := ParseBitrate(string(text))
	if err == nil {
		*b = n
	}
	return err
}
