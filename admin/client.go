package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"rtmps-edge/internal/secret"
)

const (
	// clientTimeout bounds one question: a reload may have to look around.
	clientTimeout = 30 * time.Second
	// maxAnswer bounds an answer, in bytes: ten thousand streams stay below it.
	maxAnswer = 64 << 20
)

// Client asks a running edge. It is for commands.
type Client struct {
	at    string // as it is told to people
	base  string
	token secret.Text
	http  *http.Client
}

// NewClient returns a Client of the edge that listens there: host:port,
// unix:PATH, or the URL of a proxy before it. It does not connect yet.
func NewClient(listen string, token secret.Text) (*Client, error) {
	c := &Client{at: listen, token: token, http: &http.Client{Timeout: clientTimeout}}
	if path, ok := strings.CutPrefix(listen, UnixPrefix); ok {
		c.base = "http://unix"
		c.http.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}}
		return c, nil
	}
	if strings.Contains(listen, "://") {
		u, err := url.Parse(listen)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, errors.New("must be host:port, unix:PATH, or a URL that begins with http:// or https://")
		}
		c.base = strings.TrimSuffix(u.String(), "/")
		return c, nil
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, errors.New("must be host:port, unix:PATH, or a URL that begins with http:// or https://")
	}
	c.base = "http://" + net.JoinHostPort(near(host), port)
	return c, nil
}

// near is where an edge is reached from its own machine that listens on host.
func near(host string) string {
	ip, err := netip.ParseAddr(host)
	switch {
	case host == "" || err == nil && ip.IsUnspecified() && ip.Is4():
		return "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		return "::1"
	}
	return host
}

// AnswerError is an answer that is none of success.
type AnswerError struct {
	Status int
	Failure
}

func (e *AnswerError) Error() string {
	return strings.Join(append([]string{e.Failure.Error}, e.Faults...), "\n")
}

// Get asks for path and decodes the answer into v.
func (c *Client) Get(ctx context.Context, path string, v any) error { return c.Do(ctx, "GET", path, v) }

// Do asks and decodes the answer into v; into *[]byte as it is.
func (c *Client) Do(ctx context.Context, method, path string, v any) error {
	r, err := c.send(ctx, c.http, method, path)
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(io.LimitReader(r.Body, maxAnswer))
	if err != nil {
		return c.explain(err)
	}
	if raw, ok := v.(*[]byte); ok {
		*raw = b
		return nil
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s does not answer as an rtmps-edge does: %w", c.at, err)
	}
	return nil
}

// send returns the answer, unless it is a failure.
func (c *Client) send(ctx context.Context, client *http.Client, method, path string) (*http.Response, error) {
	q, err := http.NewRequestWithContext(ctx, method, c.base+path, nil)
	if err != nil {
		return nil, err
	}
	q.Header.Set(OwnHeader, "1")
	if !c.token.Empty() {
		q.Header.Set("Authorization", "Bearer "+c.token.Reveal())
	}
	r, err := client.Do(q)
	if err != nil {
		return nil, c.explain(err)
	}
	if r.StatusCode < 300 {
		return r, nil
	}
	defer func() { _ = r.Body.Close() }()
	a := &AnswerError{Status: r.StatusCode}
	if json.NewDecoder(io.LimitReader(r.Body, maxAnswer)).Decode(&a.Failure) != nil || a.Failure.Error == "" {
		a.Failure.Error = c.at + " answers " + r.Status
	}
	return nil, a
}

// explain says what can be done about an edge that does not answer.
func (c *Client) explain(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err // the method and the URL tell nothing new
	}
	if errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, syscall.ENOENT) {
		return fmt.Errorf("no edge answers at %s, which is listen in [admin]: does it run, and with this configuration? (%w)", c.at, err)
	}
	return fmt.Errorf("%s: %w", c.at, err)
}

// Follow calls f with each State that the edge sends, until ctx is done, f
// returns false, or the edge is gone, which is an error.
func (c *Client) Follow(ctx context.Context, f func(State) bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	endless := &http.Client{Transport: c.http.Transport}
	r, err := c.send(ctx, endless, "GET", "/api/v1/live")
	if err != nil {
		return err
	}
	defer func() { _ = r.Body.Close() }()
	s := bufio.NewScanner(r.Body)
	s.Buffer(nil, maxAnswer)
	state := false
	for s.Scan() {
		if name, ok := strings.CutPrefix(s.Text(), "event: "); ok {
			state = name == "state"
			continue
		}
		data, ok := strings.CutPrefix(s.Text(), "data: ")
		if !ok || !state {
			continue
		}
		var v State
		if err := json.Unmarshal([]byte(data), &v); err != nil {
			return fmt.Errorf("%s does not answer as an rtmps-edge does: %w", c.at, err)
		}
		if !f(v) {
			return nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case s.Err() != nil:
		return c.explain(s.Err())
	}
	return fmt.Errorf("the edge at %s has ended", c.at)
}
