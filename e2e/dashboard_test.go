package e2e

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"rtmps-edge/rtmp/rtmptest"
)

// markup is text of a client that would do harm if it were taken for HTML.
const markup = `<img src=x onerror="window.pwned=1"><script>window.pwned=1</script>&lt;b&gt;`

// dashboard is where the edge says that its page is.
func (e *edge) dashboard(t testing.TB) string {
	t.Helper()
	return e.record(t, "the admin address", map[string]string{"msg": "the admin address is open"})["dashboard"].(string)
}

// keeps holds the page's lists to it that two of one name stay two, and that who
// uses the keyboard stays where he is when what stands before it goes away.
func keeps(t *testing.T, p *page) {
	t.Helper()
	got := p.eval(`(() => {
		const list = document.createElement("ul"), seen = [];
		document.body.append(list);
		const show = items => {
			keep(list, items, x => x, x => { const b = document.createElement("button"); b.textContent = x; return b; }, () => {});
			seen.push(list.innerText.replace(/\s/g, "") + (list.contains(document.activeElement) ? ">" + document.activeElement.textContent : ""));
		};
		show(["a", "b", "b", "c"]);
		list.lastChild.focus();
		for (const items of [["a", "b", "b", "c"], ["b", "b", "c"], ["c", "b", "d"], ["d"]]) show(items);
		list.remove();
		return seen.join(" ");
	})()`)
	if want := "abbc abbc>c bbc>c cbd>c d"; got != want {
		t.Errorf("lists are kept as %q, want %q", got, want)
	}
}

// The dashboard shows what happens, as it happens, and changes what it is told
// to; what clients say of themselves stays text.
func TestDashboard(t *testing.T) {
	t.Parallel()
	origin := startNginx(t)
	alice, mallory := newKey("alice"), newKey("mallory")
	mallory.name = `x"><b>bold</b>` + "\u202e"
	e := startEdge(t, settings{Origin: origin.address(), Play: `"open"`, Admin: "127.0.0.1:0"}, alice, mallory)
	p := newPage(t)
	p.look(1400, 900, "light")
	p.open(e.dashboard(t))
	p.until("an empty dashboard", `document.querySelector("#no-sessions").innerText === "No stream runs." && document.querySelector("#pill").innerText === "1 certificate ends soon"`) // it is good for a day

	keeps(t, p)

	// A stream appears, and its numbers move.
	publishFFmpeg(t, e.url(), alice.text)
	row := fmt.Sprintf(`[...document.querySelectorAll("#sessions tbody tr")].find(r => r.innerText.includes(%q))`, "live/"+alice.name)
	p.until("the stream", row)
	p.until("its numbers", row+`.innerText.match(/[1-9][0-9]* kbit\/s[^]*H\.264 320×180[^]*1[45]\.[0-9] fps of 15[^]*every 1\.0 s[^]*AAC[^]*44\.1 kHz[^]*main/)`)
	p.until("a sparkline", row+`.querySelector("polyline").getAttribute("points").split(" ").length > 3`)
	p.until("a good stream", row+`.querySelector(".health").innerText === "● good"`)

	// A client that says harmful things in every place that it has.
	harm := publishHarm(t, e, mallory)
	p.until("the harmful stream, as text", `document.querySelector("#sessions").innerText.includes('live/x"><b>bold</b>‹202e›') && document.querySelector("#sessions").innerText.includes('<img src=x')`)
	if p.eval(`window.pwned || document.querySelector("#sessions img, #sessions script, #sessions b, #events img") || 0`) != 0.0 {
		t.Error("text of a client has become HTML")
	}

	// Refusals, by reason, as they happen.
	publishFFmpeg(t, e.url(), "wrong-"+alice.text).exit(t)
	p.until("the refusal", `document.querySelector("#refused").innerText.match(/denied at authorize\s+1/) && document.querySelector("#events").innerText.match(/refused[^]*denied at authorize/)`)
	p.until("the origin and the certificate", `document.querySelector("#origins").innerText.match(/up[^]*main[^]*2 streams/) && document.querySelector("#certificates").innerText.match(/day left[^]*localhost/)`)

	screens(t, p)

	// Kicked and banned, by hand and with a question before.
	p.until("a button", row+`.querySelector("button").id = "kick"`)
	p.click("#kick")
	p.until("the question", `document.querySelector("#ask").open && document.querySelector("#ask-text").innerText.includes("live/`+alice.name+`")`)
	p.click("#ask-no")
	p.until("no question", `!document.querySelector("#ask").open`)
	if p.eval("Boolean("+row+")") != true {
		t.Error("a stream is gone that was not to be kicked")
	}
	p.click("#kick")
	p.eval(`document.querySelector("#ask-for").value = "1h"`)
	p.click("#ask-yes")
	e.record(t, "the kick", map[string]string{"msg": "stream ended", "reason": "kick", "subject": alice.subject})
	p.until("the ban", `!(`+row+`) && document.querySelector("#bans").innerText.match(/127\.0\.0\.1[^]*kick[^]*59 min/)`)
	p.click("#bans button")
	p.click("#ask-yes")
	p.until("no ban", `document.querySelector("#no-bans").checkVisibility()`)
	if _, err := e.dial(t); err != nil {
		t.Errorf("the ban was not lifted: %v", err)
	}

	// A filter, and the end.
	p.eval(`document.querySelector("#filter").value = "nobody"; document.querySelector("#filter").dispatchEvent(new Event("input"))`)
	p.until("no stream that fits", `document.querySelector("#no-sessions").innerText === "No stream fits."`)
	_ = harm.Close()
	p.click("#drain")
	p.click("#ask-yes")
	if code := e.exit(t); code != 0 {
		t.Errorf("drained, the edge ended with status %d", code)
	}
	p.until("the loss", `document.querySelector("#pill").innerText.startsWith("no news for")`)
	for _, err := range p.errors() {
		if !strings.Contains(err, "ERR_CONNECTION_REFUSED") && !strings.Contains(err, "ERR_INCOMPLETE_CHUNKED_ENCODING") {
			t.Error(err)
		}
	}
}

// publishHarm publishes with markup in its metadata.
func publishHarm(t testing.TB, e *edge, key streamKey) *rtmptest.Publisher {
	t.Helper()
	c, err := tls.Dial("tcp", "127.0.0.1:"+e.port, &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	p, err := rtmptest.Publish(c, rtmptest.PublishConfig{App: "live", Name: key.text})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Abort)
	if err := p.WriteData(0, "@setDataFrame", "onMetaData", rtmptest.ECMAArray{{Key: "width", Value: 1920.0}, {Key: "encoder", Value: markup}}); err != nil {
		t.Fatal(err)
	}
	if err := p.WriteVideo(0, []byte{0x17, 1, 0, 0, 0}); err != nil {
		t.Fatal(err)
	}
	return p
}

// screens looks at the page as different users see it. With SCREENSHOTS set, the
// pictures are kept in that directory.
func screens(t *testing.T, p *page) {
	t.Helper()
	for _, s := range []struct {
		width, height int
		theme         string
	}{{1400, 1250, "light"}, {1400, 1250, "dark"}, {390, 2600, "light"}, {390, 2600, "dark"}, {820, 1800, "light"}} {
		name := fmt.Sprintf("dashboard-%d-%s.png", s.width, s.theme)
		p.look(s.width, s.height, s.theme)
		p.until("the layout", fmt.Sprintf("innerWidth === %d && document.body.dataset.states > 0", s.width))
		if wide := p.eval(`document.documentElement.scrollWidth`).(float64); wide > float64(s.width) {
			t.Errorf("%s: the page is %v wide", name, wide)
		}
		if low := p.eval(contrast).([]any); len(low) > 0 {
			t.Errorf("%s: too little contrast: %v", name, low)
		}
		shot := p.shot()
		if _, err := png.Decode(bytes.NewReader(shot)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if dir := os.Getenv("SCREENSHOTS"); dir != "" {
			if err := os.WriteFile(filepath.Join(dir, name), shot, 0o644); err != nil {
				t.Error(err)
			}
		}
	}
	p.look(1400, 900, "light")
}

// contrast lists the texts that stand out too little from what is behind them
// (WCAG 2.1, 1.4.3: 4.5 to 1).
const contrast = `(() => {
	const rgb = c => (c.match(/[\d.]+/g) || []).map(Number);
	const light = c => { const [r, g, b] = rgb(c).map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4; }); return .2126 * r + .7152 * g + .0722 * b; };
	const behind = e => { for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (rgb(c).length < 4 || rgb(c)[3] > 0) return c; } return "rgb(255, 255, 255)"; };
	const low = [];
	for (const e of document.querySelectorAll("body *")) {
		if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.checkVisibility() || e.disabled) continue;
		const a = light(getComputedStyle(e).color), b = light(behind(e)), ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
		if (ratio < 4.5) low.push(e.tagName + "." + e.className + " " + e.innerText.slice(0, 30) + " " + ratio.toFixed(2));
	}
	return low;
})()`
