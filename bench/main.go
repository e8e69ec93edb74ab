// Command bench measures the edge side by side with other TLS terminators:
// the same load, in turns, each alone on one core. See docs/performance.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// options are the flags.
type options struct {
	edge, edge2 string
	peers, only string
	rounds      int
	quick       bool
}

func main() {
	var o options
	gocopy := flag.String("serve-gocopy", "", "internal: be the io.Copy peer")
	flag.StringVar(&o.edge, "edge", "./rtmps-edge", "the edge's program")
	flag.StringVar(&o.edge2, "edge2", "", "another build of it, to compare with")
	flag.StringVar(&o.peers, "peer", "nginx,haproxy,stunnel,gocopy", "who stands beside it")
	flag.StringVar(&o.only, "only", "", "scenarios to run, of: "+strings.Join(scenarioNames(), ","))
	flag.IntVar(&o.rounds, "rounds", 5, "rounds; the figures are their medians")
	flag.BoolVar(&o.quick, "quick", false, "less load and fewer rounds: for a first look")
	flag.StringVar(&nginxBuffer, "nginx-buffer", nginxBuffer, "nginx's proxy_buffer_size")
	flag.Parse()
	var err error
	for _, program := range []*string{&o.edge, &o.edge2} { // peers run in folders of their own
		if strings.HasPrefix(*program, ".") {
			*program, _ = filepath.Abs(*program)
		}
	}
	if *gocopy != "" {
		err = serveGocopy(*gocopy)
	} else if err = pinSelf(); err == nil {
		err = run(o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(o options) error {
	begin := time.Now()
	kinds, err := chosen(o)
	if err != nil {
		return err
	}
	needed := kinds
	if o.runs(costs) {
		needed = append(slices.Clone(kinds), redisServer)
	}
	if err := install(needed); err != nil {
		return err
	}
	raiseFiles()
	b, err := newBench(o, kinds)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	printMachine(needed)
	for _, s := range scenarios {
		if !o.runs(s) {
			continue
		}
		if err := b.scenario(s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	fmt.Printf("\n%s in all\n", time.Since(begin).Round(time.Second))
	return nil
}

// runs reports whether a scenario is to be run.
func (o options) runs(s scenario) bool {
	return o.only == "" || slices.Contains(strings.Split(o.only, ","), s.name)
}

// chosen returns the programs to compare, the edge first.
func chosen(o options) ([]kind, error) {
	kinds := []kind{edge("edge", o.edge)}
	if o.edge2 != "" {
		kinds = append(kinds, edge("edge2", o.edge2))
	}
	for name := range strings.SplitSeq(o.peers, ",") {
		i := slices.IndexFunc(others, func(k kind) bool { return k.name == name })
		if i < 0 {
			return nil, fmt.Errorf("no peer is called %q", name)
		}
		kinds = append(kinds, others[i])
	}
	return kinds, nil
}

var others = []kind{nginx, haproxy, stunnel, gocopy}

func scenarioNames() (names []string) {
	for _, s := range scenarios {
		names = append(names, s.name)
	}
	return names
}
