package authz

import (
	"fmt"
	"slices"
	"strings"
)

// formField escapes a value of a form, much as nginx does: what is left as it
// is has no meaning there.
func formField(s string) string { return escapeBut(s, "-._~/:(),!*$'@") }

// escapeBut percent-escapes all but letters, digits and plain.
func escapeBut(s, plain string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		if 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.IndexByte(plain, c) >= 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// rawQuery makes a client's query fit for a form or a URL without changing what
// is read there: escapes stay as they are, what may not stand there is escaped,
// and so is ';', at which some split.
func rawQuery(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '%' {
			if _, ok := escaped(s[i:]); ok {
				b.WriteString(s[i : i+3])
				i += 2
				continue
			}
		}
		b.WriteString(escapeBut(s[i:i+1], "-._~/:(),!*$'@&=+?"))
	}
	return b.String()
}

// withoutReserved drops the parameters that a backend could take for one of
// reserved out of a query that rawQuery has seen. Some take the first of two,
// some the last, some make a list; some do not care about case, blanks or
// brackets.
func withoutReserved(query string, reserved []string) string {
	var kept []string
	for part := range strings.SplitSeq(query, "&") {
		name, _, _ := strings.Cut(part, "=")
		if part != "" && !slices.Contains(reserved, plainName(name)) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, "&")
}

// plainName is what is left of a parameter's name after all that backends do
// to it: PHP trims blanks and cuts at NUL, PHP and Rails take name[x] for
// name, qs takes [name] and name.x for it as well, ASP.NET ignores case.
func plainName(name string) string {
	name = strings.ReplaceAll(unescape(name), "+", " ")
	name = strings.TrimLeft(name, "[ \t\r\n\v\f\x00")
	if i := strings.IndexAny(name, "[].\x00"); i >= 0 {
		name = name[:i]
	}
	return strings.ToLower(strings.TrimSpace(name))
}
