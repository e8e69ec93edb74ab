package authz

import (
	"fmt"
	"path/filepath"
	"strings"
	"unicode"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/glob"
	"rtmps-edge/internal/readfile"
	"rtmps-edge/internal/secret"
)

// MaxPassword is the longest password, in bytes: ffmpeg keeps no more than 49.
const MaxPassword = 49

// MaxUser is the longest user name, in bytes. With its salt, challenge and
// opaque it fits the 254 bytes that ffmpeg reads of a reply.
const MaxUser = 64

// User is one entry of users.toml: who may do what with a name and a password.
// Its Subject "" means the user's name. Its Terms' Name is the stream's, under
// the key stream: "" means the subject, or what the client sends if that matches
// Names.
type User struct {
	Terms
	User     string // the name to log in with
	Password secret.Text
	// PasswordFile holds the password in its first line, instead.
	PasswordFile string
	// Names are globs of stream names that the client may choose.
	Names []string

	Line int // where the entry begins, from 1; set by reading
}

// usersFormat is users.toml.
var usersFormat = format[User]{table: "user", read: readUser, check: checkUsers, write: User.toml}

// ListUsers returns the entries of file in their order. Errors: the file cannot
// be read, or a fault.List.
func ListUsers(file string) ([]User, error) { return usersFormat.list(file) }

// AddUser appends u to file, as AddKey does.
func AddUser(file string, u User) error { return usersFormat.add(file, u) }

// RemoveUsers takes entries out of file, as RemoveKeys does.
func RemoveUsers(file string, remove func(User) bool) (n int, err error) {
	return usersFormat.remove(file, remove)
}

func readUser(t *entryTable) User {
	u := User{Line: t.at.line, User: t.text("name")}
	if problem := userProblem(u.User); problem != "" {
		t.fault("name", u.User, problem)
	}
	u.Password = t.password(&u.PasswordFile)
	u.Terms = t.terms(u.User)
	u.Name = t.text("stream")
	u.Names = t.globs("names")
	return u
}

// userProblem says what is wrong with a name to log in with. These characters
// part the fields of the login and are never escaped in it.
func userProblem(name string) string {
	switch {
	case name == "" || len(name) > MaxUser:
		return fmt.Sprintf("must be the name to log in with, 1 to %d bytes", MaxUser)
	case strings.ContainsAny(name, "&=?:/+% ") || strings.ContainsFunc(name, unicode.IsControl):
		return `must not hold any of & = ? : / + % or a space`
	}
	return ""
}

// password reads it from where it stands, and never tells what it has read.
func (t *entryTable) password(file *string) secret.Text {
	v, given := t.take("password")
	text, isText := v.(string)
	*file = t.text("password_file")
	switch {
	case given && *file != "":
		t.fault("password", nil, "must not stand beside password_file")
	case *file != "":
		return t.passwordFrom(*file)
	case !isText || text == "" || len(text) > MaxPassword:
		t.fault("password", nil, fmt.Sprintf("must be text of 1 to %d bytes, or stand in password_file", MaxPassword))
	}
	return secret.New(text)
}

func (t *entryTable) passwordFrom(file string) secret.Text {
	if !filepath.IsAbs(file) {
		file = filepath.Join(filepath.Dir(t.file), file)
	}
	data, err := readfile.Read(file, 4<<10)
	if err != nil {
		t.fault("password_file", file, "must be a file that can be read: "+readfile.Reason(err))
		return secret.Text{}
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimSuffix(line, "\r")
	if line == "" || len(line) > MaxPassword {
		t.fault("password_file", file, fmt.Sprintf("must have 1 to %d bytes in its first line", MaxPassword))
	}
	return secret.New(line)
}

// globs reads a list of patterns.
func (t *entryTable) globs(key string) []string {
	v, ok := t.take(key)
	list, isList := v.([]any)
	if ok && !isList {
		t.fault(key, v, "must be a list of patterns")
	}
	var globs []string
	for _, item := range list {
		s, isText := item.(string)
		if !isText || s == "" || glob.Valid(s) != nil {
			t.fault(key, item, `must be a list of patterns, such as ["alice-*"]`)
			continue
		}
		globs = append(globs, s)
	}
	return globs
}

func checkUsers(file string, users []User, faults *fault.List) {
	first := make(map[string]int, len(users))
	for _, u := range users {
		if line, twice := first[u.User]; twice {
			faults.Add(fault.Fault{File: file, Line: u.Line, Key: "name", Value: u.User, Problem: fmt.Sprintf("must be another than in line %d", line)})
			continue
		}
		first[u.User] = u.Line
	}
}

// toml returns u as a [[user]], without what is the default.
func (u User) toml() (string, error) {
	t := newEntryText("user")
	t.line("name", quote(u.User))
	if u.PasswordFile != "" {
		t.line("password_file", quote(u.PasswordFile))
	} else {
		t.line("password", quote(u.Password.Reveal()))
	}
	if u.Subject != u.User {
		t.text("subject", u.Subject)
	}
	t.text("stream", u.Name)
	if len(u.Names) > 0 {
		t.line("names", list(u.Names, func(s string) string { return s }))
	}
	t.terms(u.Terms)
	return t.String(), nil
}
