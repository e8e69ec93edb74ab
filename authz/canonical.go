package authz

import "strings"

// maxCanonical is the longest app or stream name of a client's choice
// (nginx-rtmp cuts at 255).
const maxCanonical = 255

// CanonicalName reports whether every origin reads s alike, as an app or a
// stream name: segments of A–Z a–z 0–9 . _ ~ - with single slashes between
// them, none of them ".", and nowhere two dots together. Origins differ in what
// they make of percent signs, question marks, quotes, NUL and upper-level
// segments, and SRS takes a virtual host from what stands behind "...vhost...".
func CanonicalName(s string) bool {
	if s == "" || len(s) > maxCanonical || strings.Contains(s, "..") {
		return false
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "" || segment == "." || strings.IndexFunc(segment, notCanonical) >= 0 {
			return false
		}
	}
	return true
}

func notCanonical(r rune) bool {
	switch {
	case 'a' <= r && r <= 'z', 'A' <= r && r <= 'Z', '0' <= r && r <= '9':
		return false
	}
	return !strings.ContainsRune("._~-", r)
}
