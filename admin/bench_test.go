package admin

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
)

// BenchmarkLook is a look at a thousand streams, without a network.
func BenchmarkLook(b *testing.B) {
	e := newEdge(b, nil)
	for i := range 1000 {
		e.publish(fmt.Sprint("stream ", i))
	}
	h := e.a.handler(true)
	for _, path := range []string{"/api/v1/status", "/api/v1/sessions", "/stat"} {
		b.Run(path, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if w.Code != http.StatusOK {
					b.Fatal(w.Code)
				}
				b.SetBytes(int64(w.Body.Len()))
			}
		})
	}
}
