package hooksig

import (
	"net/http"
	"testing"
	"time"

	"rtmps-edge/internal/secret"
)

var key, at = secret.New("an-example-secret"), time.Unix(1700000000, 0)

// The vectors of docs/backends.md, made with
// printf '1700000000.%s' CONTENT | openssl dgst -sha256 -hmac an-example-secret.
var vectors = map[string]string{
	`{"version":1}`: "t=1700000000,v1=b241681f3dbfd2ee29fbbc18a15a631813e31f10d6f2a536413fed778d8db606",
	"app=live&call=publish&name=channel%20one": "t=1700000000,v1=1f0c8d9efa98762f26f4370cb601aa4c7a723425ccf1d006545ce92ff9ba3841",
}

func TestVectors(t *testing.T) {
	for content, want := range vectors {
		if got := Of(key, []byte(content), at); got != want {
			t.Errorf("%s: got %s", content, got)
		}
	}
}

// The body is signed, whatever the query is; the query where there is none, as it
// is sent.
func TestWhatIsSigned(t *testing.T) {
	const form = "app=live&call=publish&name=channel%20one"
	for _, c := range []struct{ url, body string }{
		{"http://backend.example/?token=t", form},
		{"http://backend.example/?" + form, ""},
		{"http://user:password@backend.example/?" + form, ""},
	} {
		q, err := http.NewRequest(http.MethodPost, c.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		Set(q, []byte(c.body), secret.Text{}, at)
		if len(q.Header) != 0 {
			t.Errorf("signed without a key: %v", q.Header)
		}
		Set(q, []byte(c.body), key, at)
		if got := q.Header.Get(Header); got != vectors[form] {
			t.Errorf("%s: got %s", c.url, got)
		}
		Set(q, []byte(c.body), key, at.Add(time.Second))
		if got := q.Header.Values(Header); len(got) != 1 || got[0] == vectors[form] {
			t.Errorf("signed again, got %s", got)
		}
	}
}
