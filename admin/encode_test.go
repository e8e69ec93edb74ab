package admin

import (
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"
)

// texts are what a field may hold, plain ones and others.
var texts = []string{"", "live", "FMLE/3.0 (compatible; FMSc/1.0)", hostile, "a\"b\\c\n\t\x00\x7f", "it's", "\xff\xfe", "ünïcödé 日本", "\u2028\u2029"}

// fill sets every field of a struct to something, so that none is forgotten.
func fill(r *rand.Rand, v reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Field(i).Addr().Interface().(type) {
		case *string:
			*f = texts[r.IntN(len(texts))]
		case *float64:
			*f = seconds(time.Duration(r.Int64N(int64(1000*time.Hour)) - int64(time.Hour)))
		case *int:
			*f = r.IntN(1 << 20)
		case *int64:
			*f = r.Int64() - 1<<62
		case *uint64:
			*f = r.Uint64()
		case *bool:
			*f = r.IntN(2) == 1
		case *time.Time:
			*f = time.Unix(r.Int64N(1<<33), r.Int64N(1e9)).In(time.FixedZone("", 3600*(r.IntN(24)-12)))
		case *[]string:
			*f = texts[:r.IntN(len(texts)+1)]
		default:
			panic(v.Type().Field(i).Name)
		}
	}
}

func TestWhatIsWrittenByHandIsAsByReflection(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		var s Session
		var b Ban
		fill(r, reflect.ValueOf(&s).Elem())
		fill(r, reflect.ValueOf(&b).Elem())
		for got, v := range map[string]any{string(appendSession(nil, &s)): s, string(appendBan(nil, &b)): b} {
			want, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(want) {
				t.Fatalf("\n%s, want\n%s", got, want)
			}
		}
	}
}

func BenchmarkAppendSession(b *testing.B) {
	s := Session{ID: "0123456789ab", Action: "publish", Subject: "alice", App: "live", Name: "alice", Client: "192.0.2.1:5000", Since: time.Now(),
		Video: "H.264", VideoProfile: "High 4.1", FPS: 29.97, FlashVer: "FMLE/3.0 (compatible; FMSc/1.0)", Health: good}
	var text []byte
	b.ReportAllocs()
	for b.Loop() {
		text = appendSession(text[:0], &s)
	}
}
