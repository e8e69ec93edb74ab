// Package hooksig signs what the edge sends to backends over HTTP, so that they
// can tell it from what others send them, and from what they have had before.
package hooksig

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"net/http"
	"strconv"
	"time"

	"rtmps-edge/internal/secret"
)

// Header is the header that the signature stands in.
const Header = "X-Rtmps-Edge-Signature"

// Set signs q, whose body is content: whatever it is, JSON or a form, byte for
// byte. Where there is no body, the query is signed, as it stands in the URL.
// Without a key nothing is signed. A request that is sent again should be signed
// again: a backend may find it too old.
func Set(q *http.Request, content []byte, key secret.Text, now time.Time) {
	if key.Empty() {
		return
	}
	if len(content) == 0 {
		content = []byte(q.URL.RawQuery)
	}
	q.Header.Set(Header, Of(key, content, now))
}

// Of is the value of Header: t=UNIX,v1=HEX, where HEX is the HMAC-SHA256 of
// "UNIX." and content.
func Of(key secret.Text, content []byte, at time.Time) string {
	t := strconv.FormatInt(at.Unix(), 10)
	h := hmac.New(sha256.New, []byte(key.Reveal()))
	_, _ = io.WriteString(h, t+".")
	_, _ = h.Write(content)
	return "t=" + t + ",v1=" + hex.EncodeToString(h.Sum(nil))
}
