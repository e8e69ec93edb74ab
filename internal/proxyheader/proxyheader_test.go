package proxyheader

import (
	"bytes"
	"errors"
	"io"
	"net/netip"
	"strings"
	"testing"
	"testing/iotest"
)

// sig begins each header of version 2.
const sig = "\r\n\r\n\x00\r\nQUIT\n"

// v2 is a header of version 2.
func v2(command, family byte, rest string) string {
	return sig + string([]byte{command, family, byte(len(rest) >> 8), byte(len(rest))}) + rest
}

const (
	ends4 = "\xc0\x00\x02\x07\xc6\x33\x64\x01\x10\x00\x07\x8f" // 192.0.2.7:4096 to 198.51.100.1:1935
	ends6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x10\x00\x07\x8f"
)

var (
	unix   = strings.Repeat("\x00", 216)
	client = Header{Source: netip.MustParseAddrPort("192.0.2.7:4096"), Destination: netip.MustParseAddrPort("198.51.100.1:1935")}
	six    = Header{Source: netip.MustParseAddrPort("[2001:db8::7]:4096"), Destination: netip.MustParseAddrPort("[2001:db8::1]:1935")}
	named  = Header{Source: client.Source, Destination: client.Destination, Authority: "live.example.com"}
	local  = Header{Local: true}
)

var good = map[string]struct {
	text string
	want Header
}{
	"v1":                        {"PROXY TCP4 192.0.2.7 198.51.100.1 4096 1935\r\n", client},
	"v1, IPv6":                  {"PROXY TCP6 2001:db8::7 2001:db8::1 4096 1935\r\n", six},
	"v1, IPv4 in IPv6":          {"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:198.51.100.1 4096 1935\r\n", client},
	"v1, the longest":           {"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n", local},
	"v1, unknown":               {"PROXY UNKNOWN\r\n", local},
	"v2":                        {v2(0x21, 0x11, ends4), client},
	"v2, IPv6":                  {v2(0x21, 0x21, ends6), six},
	"v2, server name":           {v2(0x21, 0x11, ends4+"\x01\x00\x02h2"+"\x02\x00\x10live.example.com"+"\x04\x00\x03\x00\x00\x00"), named},
	"v2, server name too long":  {v2(0x21, 0x11, ends4+"\x02\x01\x00"+strings.Repeat("a", 256)), client},
	"v2, unknown additions":     {v2(0x21, 0x11, ends4+"\xee\x00\x01x"), client},
	"v2, the longest":           {v2(0x21, 0x11, ends4+"\xee\x0f\xe1"+strings.Repeat("x", 4065)), client},
	"v2, unix":                  {v2(0x21, 0x31, unix), Header{}},
	"v2, local":                 {v2(0x20, 0x00, ""), local},
	"v2, local with an address": {v2(0x20, 0x11, ends4), local},
	"v2, local with anything":   {v2(0x20, 0x7f, "anything"), local},
	"v2, unknown family":        {v2(0x21, 0x00, "anything"), local},
}

var bad = map[string]string{
	"TLS":                       "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00\x00\x00\x00",
	"RTMP":                      "\x03" + strings.Repeat("\x00", 1536),
	"HTTP":                      "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
	"v1 without a blank":        "PROXYTCP4 192.0.2.7 198.51.100.1 4096 1935\r\n",
	"v1, other protocol":        "PROXY UDP4 192.0.2.7 198.51.100.1 4096 1935\r\n",
	"v1, too few":               "PROXY TCP4 192.0.2.7 198.51.100.1 4096\r\n",
	"v1, no address":            "PROXY TCP4 192.0.2.256 198.51.100.1 4096 1935\r\n",
	"v1, other family":          "PROXY TCP4 2001:db8::7 2001:db8::1 4096 1935\r\n",
	"v1, no port":               "PROXY TCP4 192.0.2.7 198.51.100.1 65536 1935\r\n",
	"v1, no CR":                 "PROXY TCP4 192.0.2.7 198.51.100.1 4096 1935\n",
	"v1, too long":              "PROXY UNKNOWN " + strings.Repeat("x", 200) + "\r\n",
	"v2, version 1":             v2(0x11, 0x11, ends4),
	"v2, other command":         v2(0x22, 0x11, ends4),
	"v2, too short":             v2(0x21, 0x11, ends4[1:]),
	"v2, IPv6 too short":        v2(0x21, 0x21, ends4),
	"v2, datagrams":             v2(0x21, 0x12, ends4),
	"v2, unix datagrams":        v2(0x21, 0x32, unix),
	"v2, unknown family":        v2(0x21, 0x41, ends4),
	"v2, no transport":          v2(0x21, 0x10, ends4),
	"v2, half an addition":      v2(0x21, 0x11, ends4+"\x02\x00"),
	"v2, addition cut off":      v2(0x21, 0x11, ends4+"\x02\x00\x10live"),
	"v2, longer than is taken":  v2(0x21, 0x11, ends4+"\xee\x0f\xe2"+strings.Repeat("x", 4066)),
	"v2, much longer":           v2(0x21, 0x11, strings.Repeat("x", 65535)),
	"v2, bad signature, SMTP…":  "\r\n\r\n\x00\r\nQUIT\r" + ends4,
	"v2 local, not taken whole": v2(0x20, 0x00, strings.Repeat("x", 65535)),
}

// What follows a header is left for whom it is meant for, however the header
// comes in.
func TestRead(t *testing.T) {
	for name, test := range good {
		for how, wrap := range map[string]func(io.Reader) io.Reader{
			"at once": func(r io.Reader) io.Reader { return r }, "in bytes": iotest.OneByteReader, "with the end": iotest.DataErrReader,
		} {
			rest := strings.NewReader(test.text + "next")
			got, err := Read(wrap(rest))
			if err != nil || got != test.want {
				t.Errorf("%s, %s: %+v, %v", name, how, got, err)
			}
			if left, _ := io.ReadAll(rest); how != "with the end" && string(left) != "next" {
				t.Errorf("%s, %s: %q is left", name, how, left)
			}
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, text := range bad {
		if h, err := Read(strings.NewReader(text + strings.Repeat("x", 20))); !errors.Is(err, ErrMalformed) || h != (Header{}) {
			t.Errorf("%s: %+v, %v", name, h, err)
		}
	}
}

// The error of a connection is not mistaken for a malformed header.
func TestReadCutOff(t *testing.T) {
	for name, test := range good {
		for n := range len(test.text) {
			want := io.ErrUnexpectedEOF
			if n == 0 {
				want = io.EOF
			}
			if _, err := Read(strings.NewReader(test.text[:n])); err != want {
				t.Fatalf("%s, %d bytes: %v", name, n, err)
			}
		}
		slow := io.MultiReader(strings.NewReader(test.text[:len(test.text)-1]), iotest.ErrReader(io.ErrClosedPipe))
		if _, err := Read(slow); err != io.ErrClosedPipe {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestFormat(t *testing.T) {
	none := netip.AddrPort{}
	mapped := netip.MustParseAddrPort("[::ffff:192.0.2.7]:4096")
	zoned := netip.MustParseAddrPort("[2001:db8::7%eth0]:4096")
	for _, test := range []struct {
		version  byte
		from, to netip.AddrPort
		want     string
	}{
		{1, client.Source, client.Destination, good["v1"].text},
		{1, mapped, client.Destination, good["v1"].text},
		{1, six.Source, six.Destination, good["v1, IPv6"].text},
		{1, zoned, six.Destination, good["v1, IPv6"].text},
		{1, client.Source, six.Destination, "PROXY TCP4 192.0.2.7 0.0.0.0 4096 1935\r\n"},
		{1, six.Source, client.Destination, "PROXY TCP6 2001:db8::7 :: 4096 1935\r\n"},
		{1, client.Source, none, "PROXY TCP4 192.0.2.7 0.0.0.0 4096 0\r\n"},
		{1, none, client.Destination, "PROXY UNKNOWN\r\n"},
		{2, client.Source, client.Destination, good["v2"].text},
		{2, mapped, client.Destination, good["v2"].text},
		{2, six.Source, six.Destination, good["v2, IPv6"].text},
		{2, client.Source, none, v2(0x21, 0x11, "\xc0\x00\x02\x07\x00\x00\x00\x00\x10\x00\x00\x00")},
		{2, none, none, v2(0x20, 0x00, "")},
	} {
		if got := Format(test.version, test.from, test.to); string(got) != test.want {
			t.Errorf("version %d of %v to %v: %q", test.version, test.from, test.to, got)
		}
	}
}

// FuzzRead: nothing is read beyond the header, the header is bounded, and what
// is understood is understood again when it is written.
func FuzzRead(f *testing.F) {
	for _, test := range good {
		f.Add([]byte(test.text))
	}
	for _, text := range bad {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r := bytes.NewReader(data)
		h, err := Read(r)
		taken := len(data) - r.Len()
		if taken > MaxV2 {
			t.Fatalf("%d bytes were taken", taken)
		}
		if err != nil {
			if h != (Header{}) || !errors.Is(err, ErrMalformed) && err != io.EOF && err != io.ErrUnexpectedEOF {
				t.Fatalf("%+v, %v", h, err)
			}
			return
		}
		if again, err := Read(bytes.NewReader(data[:taken])); err != nil || again != h {
			t.Fatalf("%+v, then %+v, %v", h, again, err)
		}
		if h.Local && (h.Source.IsValid() || h.Destination.IsValid() || h.Authority != "") {
			t.Fatalf("%+v", h)
		}
		if !h.Source.IsValid() {
			return
		}
		for _, version := range []byte{1, 2} {
			again, err := Read(bytes.NewReader(Format(version, h.Source, h.Destination)))
			if err != nil || again.Source != h.Source || again.Local {
				t.Fatalf("%+v is written as %+v, %v", h, again, err)
			}
		}
	})
}
