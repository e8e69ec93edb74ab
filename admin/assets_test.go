package admin

import (
	"regexp"
	"strings"
	"testing"
)

func readAsset(t *testing.T, name string) string {
	t.Helper()
	b, err := assets.ReadFile("assets/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// The page loads nothing from elsewhere and needs nothing that its policy
// forbids; text never becomes HTML.
func TestThePageIsComplete(t *testing.T) {
	t.Parallel()
	page, style, program := readAsset(t, "index.html"), readAsset(t, "dashboard.css"), readAsset(t, "dashboard.js")
	for what, bad := range map[string]string{
		"an inline script":  `(?i)<script(?: [^>]*)?>[^<]`,
		"an inline style":   `(?i)\sstyle=|<style`,
		"an inline handler": `(?i)\son[a-z]+=`,
		"another address":   `(?i)(?:href|src)="(?:[a-z]+:)?//`,
	} {
		if m := regexp.MustCompile(bad).FindString(page); m != "" {
			t.Errorf("%s in the page: %q", what, m)
		}
	}
	if m := regexp.MustCompile(`(?i)@import|url\(`).FindString(style); m != "" {
		t.Errorf("%q in the style", m)
	}
	program = strings.ReplaceAll(program, `"http://www.w3.org/2000/svg"`, "") // a name, not an address
	if m := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|https?://`).FindString(program); m != "" {
		t.Errorf("%q in the program", m)
	}
	// Every element that the program names is there.
	ids := regexp.MustCompile(`\$\("([a-z-]+)"\)`).FindAllStringSubmatch(program, -1)
	if len(ids) < 20 {
		t.Errorf("%d names of elements", len(ids))
	}
	for _, id := range ids {
		if !strings.Contains(page, `id="`+id[1]+`"`) {
			t.Errorf("there is no element %s", id[1])
		}
	}
}
