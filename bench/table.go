package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
)

// column is one figure of a scenario.
type column struct {
	name  string
	verb  string // how it is printed
	ratio bool   // against nginx's, too
}

// table holds the figures of a scenario by peer.
type table struct {
	title   string
	columns []column
	kinds   []kind
	rows    map[string][][]float64 // by peer, then round
}

func newTable(title string, columns []column, kinds []kind) *table {
	return &table{title: title, columns: columns, kinds: kinds, rows: map[string][][]float64{}}
}

func (t *table) add(peer string, values []float64) {
	t.rows[peer] = append(t.rows[peer], values)
}

// values returns one column of a peer.
func (t *table) values(peer string, i int) (list []float64) {
	for _, row := range t.rows[peer] {
		list = append(list, row[i])
	}
	return list
}

// reference is the peer of the ratios: nginx, or the first.
func (t *table) reference() string {
	for _, k := range t.kinds {
		if k.name == nginx.name {
			return k.name
		}
	}
	return t.kinds[0].name
}

// print writes medians, and beside those that matter the ratio to the
// reference and the range.
func (t *table) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s\n", t.title)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(w, "\t")
	for _, c := range t.columns {
		fmt.Fprintf(w, "%s\t", c.name)
		if c.ratio {
			fmt.Fprintf(w, "× %s\tmin–max\t", t.reference())
		}
	}
	fmt.Fprintln(w)
	for _, k := range t.kinds {
		fmt.Fprintf(w, "%s\t", k.name)
		for i, c := range t.columns {
			t.cell(w, k.name, i, c)
		}
		fmt.Fprintln(w)
	}
	w.Flush()
}

func (t *table) cell(w io.Writer, peer string, i int, c column) {
	v := t.values(peer, i)
	m := median(v)
	if math.IsNaN(m) {
		fmt.Fprint(w, "–\t")
	} else {
		fmt.Fprintf(w, c.verb+"\t", m)
	}
	if !c.ratio {
		return
	}
	if math.IsNaN(m) {
		fmt.Fprint(w, "\t\t")
		return
	}
	fmt.Fprintf(w, "%.2f\t"+c.verb+"–"+c.verb+"\t", t.ratio(peer, i), slices.Min(v), slices.Max(v))
}

// ratio is the median of the ratios of the rounds: what disturbed a round
// disturbed both.
func (t *table) ratio(peer string, i int) float64 {
	v, ref := t.values(peer, i), t.values(t.reference(), i)
	var ratios []float64
	for j := range min(len(v), len(ref)) {
		ratios = append(ratios, v[j]/ref[j])
	}
	return median(ratios)
}

// median is NaN of nothing.
func median(v []float64) float64 {
	if len(v) == 0 || slices.ContainsFunc(v, math.IsNaN) {
		return math.NaN()
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// quantile sorts v.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return math.NaN()
	}
	slices.Sort(v)
	return v[int(q*float64(len(v)-1))]
}

// printMachine says on what, and with what, was measured.
func printMachine(kinds []kind) {
	fmt.Printf("%s, %d cores, %s, %s\n", processor(), cores(), kernel(), runtime.Version())
	fmt.Println("The proxy alone on one core, load and origin on another. TLS 1.3, AES-128-GCM, X25519, ECDSA P-256.")
	for _, k := range kinds {
		if k.version != nil {
			fmt.Printf("  %s: %s\n", k.name, version(k))
		}
	}
}

func processor() string {
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if name, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}

func cores() int {
	b, _ := os.ReadFile("/proc/cpuinfo")
	return strings.Count(string(b), "processor\t:")
}

func kernel() string {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return "Linux " + strings.TrimSpace(string(b))
}

// version is the first line that a program prints about itself.
func version(k kind) string {
	b, _ := exec.Command(k.binary, k.version...).CombinedOutput()
	first, _, _ := strings.Cut(string(b), "\n")
	return strings.TrimSpace(first)
}
