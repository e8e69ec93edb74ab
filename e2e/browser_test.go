package e2e

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// page is one page of a headless Chromium, driven by its DevTools protocol.
type page struct {
	t  testing.TB
	ws *websocket.Conn

	mu       sync.Mutex
	last     int
	waiting  map[int]chan reply
	troubles []string // errors in the console, and exceptions
}

type reply struct {
	ID     int             `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error"`
}

// newPage starts a browser of its own with an empty page.
func newPage(t testing.TB) *page {
	t.Helper()
	b := start(t, exec.Command(program(t, "chromium"), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
		"--disable-background-networking", "--disable-component-update", "--disable-sync", "--user-data-dir="+t.TempDir(), "--remote-debugging-port=0", "about:blank"))
	line := b.waitText(t, "DevTools listening on ws://")
	_, rest, _ := strings.Cut(line, "ws://")
	host, _, _ := strings.Cut(rest, "/")
	p := &page{t: t, waiting: map[int]chan reply{}}
	p.connect(host)
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		p.call(domain+".enable", nil, nil)
	}
	return p
}

// connect finds the page and speaks to it.
func (p *page) connect(host string) {
	p.t.Helper()
	var targets []struct {
		Type string `json:"type"`
		URL  string `json:"webSocketDebuggerUrl"`
	}
	eventually(p.t, "the browser's page", func() error {
		r, err := http.Get("http://" + host + "/json/list")
		if err != nil {
			return err
		}
		defer func() { _ = r.Body.Close() }()
		if err := json.NewDecoder(r.Body).Decode(&targets); err != nil {
			return err
		}
		for _, target := range targets {
			if target.Type != "page" {
				continue
			}
			p.ws, err = websocket.Dial(target.URL, "", "http://"+host)
			return err
		}
		return fmt.Errorf("there is none in %v", targets)
	})
	p.ws.MaxPayloadBytes = 64 << 20 // screenshots
	p.t.Cleanup(func() { _ = p.ws.Close() })
	go p.read()
}

// read takes what the browser says until the page is gone.
func (p *page) read() {
	for {
		var r reply
		if websocket.JSON.Receive(p.ws, &r) != nil {
			return
		}
		p.mu.Lock()
		switch {
		case r.ID != 0:
			if c := p.waiting[r.ID]; c != nil {
				c <- r
				delete(p.waiting, r.ID)
			}
		case r.Method == "Runtime.exceptionThrown":
			p.troubles = append(p.troubles, string(r.Params))
		case r.Method == "Log.entryAdded" && strings.Contains(string(r.Params), `"level":"error"`):
			p.troubles = append(p.troubles, string(r.Params))
		}
		p.mu.Unlock()
	}
}

// call asks the browser and decodes its answer into v.
func (p *page) call(method string, params, v any) {
	p.t.Helper()
	c := make(chan reply, 1)
	p.mu.Lock()
	p.last++
	id := p.last
	p.waiting[id] = c
	p.mu.Unlock()
	if params == nil {
		params = struct{}{}
	}
	if err := websocket.JSON.Send(p.ws, map[string]any{"id": id, "method": method, "params": params}); err != nil {
		p.t.Fatalf("%s: %v", method, err)
	}
	select {
	case r := <-c:
		if r.Error != nil {
			p.t.Fatalf("%s: %s", method, r.Error.Message)
		}
		if v != nil {
			if err := json.Unmarshal(r.Result, v); err != nil {
				p.t.Fatalf("%s: %v", method, err)
			}
		}
	case <-time.After(patience):
		p.t.Fatalf("waited for the browser's answer to %s", method)
	}
}

// open goes to a page.
func (p *page) open(url string) {
	p.t.Helper()
	p.call("Page.navigate", map[string]any{"url": url}, nil)
}

// eval returns the value of an expression as JSON has it.
func (p *page) eval(expression string) any {
	p.t.Helper()
	v, err := p.try(expression)
	if err != nil {
		p.t.Fatal(err)
	}
	return v
}

func (p *page) try(expression string) (any, error) {
	p.t.Helper()
	var r struct {
		Result struct {
			Value any `json:"value"`
		} `json:"result"`
		Exception any `json:"exceptionDetails"`
	}
	p.call("Runtime.evaluate", map[string]any{"expression": expression, "returnByValue": true, "awaitPromise": true}, &r)
	if r.Exception != nil {
		return nil, fmt.Errorf("%s: %v", expression, r.Exception)
	}
	return r.Result.Value, nil
}

// text is what an element shows.
func (p *page) text(selector string) string {
	p.t.Helper()
	s, _ := p.try(fmt.Sprintf("(document.querySelector(%q) || {innerText: ''}).innerText", selector))
	text, _ := s.(string)
	return text
}

// until waits for an expression to be true.
func (p *page) until(what, expression string) {
	p.t.Helper()
	eventually(p.t, what, func() error {
		v, err := p.try("Boolean(" + expression + ")")
		if err == nil && v != true {
			err = fmt.Errorf("the page shows\n%s", p.text("body"))
		}
		return err
	})
}

// click presses the mouse on an element, as a user would.
func (p *page) click(selector string) {
	p.t.Helper()
	at, ok := p.eval(fmt.Sprintf(`(() => { const e = document.querySelector(%q); if (!e) return null; e.scrollIntoView({block: "center"});
		const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2]; })()`, selector)).([]any)
	if !ok {
		p.t.Fatalf("there is no %s to click at", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		p.call("Input.dispatchMouseEvent", map[string]any{"type": kind, "x": at[0], "y": at[1], "button": "left", "clickCount": 1}, nil)
	}
}

// look sets the size of the window and the theme.
func (p *page) look(width, height int, theme string) {
	p.t.Helper()
	p.call("Emulation.setDeviceMetricsOverride", map[string]any{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
	p.call("Emulation.setEmulatedMedia", map[string]any{"features": []any{map[string]any{"name": "prefers-color-scheme", "value": theme}}}, nil)
}

// shot is a picture of the whole page, in PNG.
func (p *page) shot() []byte {
	p.t.Helper()
	var r struct {
		Data string `json:"data"`
	}
	p.call("Page.captureScreenshot", map[string]any{"captureBeyondViewport": true}, &r)
	b, err := base64.StdEncoding.DecodeString(r.Data)
	if err != nil {
		p.t.Fatal(err)
	}
	return b
}

// errors are those that the console has shown.
func (p *page) errors() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.troubles...)
}
