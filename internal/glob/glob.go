// Package glob matches names against patterns as operators write them. It is
// path.Match with one difference: a star matches any text, slashes too, as
// names of apps and servers are not paths.
//
//	?       any one character
//	*       any text, also none
//	[a-z]   one character of these; [^a-z] one that is not of these
//	\c      the character c, whatever it means otherwise
//
// Letter case matters. A match takes time in proportion to len(pattern) ×
// len(s) at most, and no memory: patterns are the operator's, but s is what
// some client sent.
package glob

import (
	"errors"
	"unicode/utf8"
)

// ErrPattern is the error of Valid. It does not contain the pattern.
var ErrPattern = errors.New(`must be a pattern of * (any text), ? (any character), [a-z] or [^a-z] (one of these, or not), and \ before any of them as itself`)

// Match reports whether all of s matches pattern. A pattern that is not Valid
// matches nothing.
func Match(pattern, s string) bool {
	if Valid(pattern) != nil {
		return false
	}
	p, i := 0, 0
	// The last star, and the text that it has not swallowed yet. Only the last
	// needs to be tried again: what an earlier one could match otherwise, the
	// last one can match, too.
	star, rest := -1, 0
	for i < len(s) || p < len(pattern) {
		if p < len(pattern) && pattern[p] == '*' {
			star, rest = p, i
			p++
			continue
		}
		if p < len(pattern) && i < len(s) {
			if width, next := one(pattern[p:], s[i:]); width > 0 {
				i += width
				p += next
				continue
			}
		}
		if star < 0 || rest >= len(s) {
			return false
		}
		_, width := utf8.DecodeRuneInString(s[rest:])
		rest += width
		p, i = star+1, rest
	}
	return true
}

// Valid returns ErrPattern if pattern is malformed: a class that does not end,
// is empty or runs backwards, or a backslash at the end.
func Valid(pattern string) error {
	for p := pattern; p != ""; {
		n := length(p)
		if n == 0 {
			return ErrPattern
		}
		p = p[n:]
	}
	return nil
}

// length returns the length of the first element of p, or 0 if it is
// malformed.
func length(p string) int {
	switch p[0] {
	case '[':
		n, _ := class(p, 0)
		return n
	case '\\':
		if len(p) < 2 {
			return 0
		}
		_, n := utf8.DecodeRuneInString(p[1:])
		return 1 + n
	}
	_, n := utf8.DecodeRuneInString(p)
	return n
}

// one matches the first character of s with the first element of p, which is
// no star. It returns the length of both, or 0, 0 if they do not match.
func one(p, s string) (width, next int) {
	r, width := utf8.DecodeRuneInString(s)
	next = length(p)
	switch p[0] {
	case '?':
		return width, next
	case '[':
		if _, in := class(p, r); in {
			return width, next
		}
		return 0, 0
	case '\\':
		return literal(p[1:next], s, next)
	}
	return literal(p[:next], s, next)
}

// literal compares bytes, not characters: all invalid UTF-8 is one character.
func literal(want, s string, next int) (int, int) {
	if len(s) < len(want) || s[:len(want)] != want {
		return 0, 0
	}
	return len(want), next
}

// class reads the class that p begins with. n is its length, 0 if it is
// malformed; in says whether r is one of it.
func class(p string, r rune) (n int, in bool) {
	n = 1
	not := n < len(p) && p[n] == '^'
	if not {
		n++
	}
	for first := true; n < len(p); first = false {
		if p[n] == ']' && !first {
			return n + 1, in != not
		}
		low, k := member(p[n:])
		n += k
		high := low
		if k > 0 && n < len(p) && p[n] == '-' {
			high, k = member(p[n+1:])
			n += 1 + k
		}
		if k == 0 || high < low {
			return 0, false
		}
		in = in || low <= r && r <= high
	}
	return 0, false
}

// member reads one character of a class; n is 0 if there is none.
func member(p string) (r rune, n int) {
	if p == "" || p[0] == ']' || p[0] == '-' {
		return 0, 0
	}
	if p[0] == '\\' {
		if len(p) < 2 {
			return 0, 0
		}
		r, n = utf8.DecodeRuneInString(p[1:])
		return r, 1 + n
	}
	return utf8.DecodeRuneInString(p)
}
