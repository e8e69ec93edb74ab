// Package bitrate reads and writes bit rates as configuration files hold them:
// "8Mbit", "500kbit", "8000".
package bitrate

import (
	"errors"
	"strconv"
	"strings"
)

// Max is the largest bit rate that can be written, in bits per second: 1
// Tbit/s, beyond any network card. It leaves room for arithmetic in int64.
const Max = 1_000_000_000_000

// maxText bounds what Parse looks at; the longest useful text is far shorter.
const maxText = 32

// ErrSyntax says what is allowed. It never contains the text that was read.
var ErrSyntax = errors.New(`must be bits per second from 0 to 1000Gbit, such as "8Mbit", "2.5Mbit", "500kbit" or 8000`)

// units are the SI prefixes and their powers of ten. Letter case matters, as
// it does in SI.
var units = []struct {
	suffix string
	exp    int
}{
	{"Gbit", 9}, {"Mbit", 6}, {"kbit", 3}, {"bit", 0}, // "bit" ends all: last
}

// Parse returns s in bits per second, 0 to Max. The error is ErrSyntax.
func Parse(s string) (int64, error) {
	if len(s) > maxText {
		return 0, ErrSyntax
	}
	number, exp := cutUnit(s)
	whole, fraction, hasPoint := strings.Cut(number, ".")
	if !digits(whole) || hasPoint && (!digits(fraction) || len(fraction) > exp) {
		return 0, ErrSyntax // a fraction of a bit is a mistake, too
	}
	n, err := strconv.ParseInt(whole+fraction+strings.Repeat("0", exp-len(fraction)), 10, 64)
	if err != nil || n > Max {
		return 0, ErrSyntax
	}
	return n, nil
}

func cutUnit(s string) (number string, exp int) {
	for _, u := range units {
		if n, ok := strings.CutSuffix(s, u.suffix); ok {
			return n, u.exp
		}
	}
	return s, 0
}

func digits(s string) bool {
	for _, c := range s {
		if c < '0' || c > '9' {
			return false
		}
	}
	return s != ""
}

// Format writes n so that Parse reads it back, in the largest unit that needs
// no fraction.
func Format(n int64) string {
	if n == 0 {
		return "0"
	}
	size := int64(1_000_000_000)
	for _, u := range units[:3] {
		if n%size == 0 {
			return strconv.FormatInt(n/size, 10) + u.suffix
		}
		size /= 1000
	}
	return strconv.FormatInt(n, 10)
}
