package admin

import (
	"embed"
	"net/http"
)

// The dashboard and the description of the API, as they are served.
//
//go:embed assets
var assets embed.FS

func asset(name, contentType string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		b, err := assets.ReadFile("assets/" + name)
		if err != nil {
			fail(w, http.StatusInternalServerError, "the file is missing in this build")
			return
		}
		w.Header().Set("Content-Type", contentType)
		_, _ = w.Write(b)
	}
}
