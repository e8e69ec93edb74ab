package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The recipes of docs/signed-keys.md print the key that the page says, and the
// edge finds it good.
func TestRecipes(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../docs/signed-keys.md")
	if err != nil {
		t.Fatal(err)
	}
	const key = "alice?exp=1893456000&sig=c5a556785377b7763b43f45bf6ebb3b1f94406244192adfefdd4aa025a901ec8"
	if !strings.Contains(string(page), "\n    "+key+"\n") {
		t.Fatal("the page has another test vector")
	}
	for language, interpreter := range map[string]string{"sh": "sh", "python": "python3", "php": "php", "javascript": "node"} {
		t.Run(language, func(t *testing.T) {
			t.Parallel()
			file := filepath.Join(t.TempDir(), "recipe")
			writeFile(t, file, recipeOf(t, string(page), language))
			out, err := exec.Command(program(t, interpreter), file).CombinedOutput()
			if err != nil || strings.TrimSpace(string(out)) != key {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
	t.Run("edge", func(t *testing.T) {
		t.Parallel()
		e := prepareEdge(t, settings{Origin: freeAddress(t)})
		secrets := filepath.Join(e.dir, "signing.secrets")
		writeFile(t, secrets, "correct-horse-battery-staple-0123456789\n")
		cmd := e.command(t, "verify", "--scheme", "hmac", "--secret-file", secrets, "--app", "live")
		cmd.Stdin = strings.NewReader(key + "\n")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
	})
}

// recipeOf is the first block of a language on a page.
func recipeOf(t *testing.T, page, language string) string {
	t.Helper()
	_, recipe, ok := strings.Cut(page, "```"+language+"\n")
	recipe, _, ended := strings.Cut(recipe, "```\n")
	if !ok || !ended {
		t.Fatal("the page has no such recipe")
	}
	return recipe
}
