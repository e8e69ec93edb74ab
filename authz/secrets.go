package authz

import (
	"bytes"
	"fmt"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/secret"
)

const (
	// maxSecretsFile is the largest file of secrets, in bytes.
	maxSecretsFile = 64 << 10
	// maxSecrets of one file are all tried for each key: two are enough for a
	// rotation, and some are left over.
	maxSecrets = 16
	// maxSecretLength is the longest secret, in bytes; any of more than 64 is
	// hashed first by HMAC itself.
	maxSecretLength = 1024
	// shortSecret is what should be exceeded: below 16 random bytes, a key
	// that was seen once helps to find its secret by trying.
	shortSecret = 16
)

// parseSecrets reads one secret a line. Blanks around it, empty lines and
// lines that begin with '#' do not count. Errors are faults without any secret.
func parseSecrets(file string, data []byte) ([]secret.Text, error) {
	var faults fault.List
	var secrets []secret.Text
	seen := map[string]bool{}
	note := func(line int, problem string) { faults.Add(fault.Fault{File: file, Line: line, Problem: problem}) }
	line := 0
	for text := range bytes.SplitSeq(data, []byte("\n")) {
		line++
		text = bytes.TrimSpace(text)
		if len(text) == 0 || text[0] == '#' {
			continue
		}
		switch {
		case len(text) > maxSecretLength:
			note(line, fmt.Sprintf("a secret must have at most %d bytes", maxSecretLength))
		case bytes.ContainsFunc(text, isControl):
			note(line, "a secret must be without control characters")
		case seen[string(text)]:
			note(line, "this secret stands here already")
		default:
			secrets = append(secrets, secret.New(string(text)))
		}
		seen[string(text)] = true
	}
	switch {
	case len(faults) == 0 && len(secrets) == 0:
		note(0, "must have a secret: one a line, the first signs, all verify")
	case len(secrets) > maxSecrets:
		note(0, fmt.Sprintf("must have at most %d secrets: all of them are tried for each key", maxSecrets))
	}
	return secrets, faults.Err()
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }

// signingSecret is a secret in use. Who was granted something by it is revoked
// when it is gone.
type signingSecret struct {
	secret.Text
	live *live
}

// signingSecrets takes secrets into use. Those that old has as well go on; the
// others of old are returned.
func signingSecrets(secrets []secret.Text, old []*signingSecret) (next []*signingSecret, revoke []*live) {
	kept := map[*signingSecret]bool{}
	for _, s := range secrets {
		is := &signingSecret{s, newLive()}
		for _, was := range old {
			if was.Equal(s) {
				is, kept[was] = was, true
			}
		}
		next = append(next, is)
	}
	for _, was := range old {
		if !kept[was] {
			revoke = append(revoke, was.live)
		}
	}
	return next, revoke
}
