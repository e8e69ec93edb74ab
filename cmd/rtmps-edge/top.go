package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/admin"
	"rtmps-edge/internal/terminal"
)

// topHistory is how many bit rates a stream's line shows.
const topHistory = 20

func topCommand() *cobra.Command {
	f, t := &steerFlags{}, &top{history: map[string][]int64{}}
	c := &cobra.Command{
		Use:   "top",
		Short: "Watch the streams of the running edge",
		Long: `Watch the running edge: its streams, those in trouble first, refusals by reason, origins.
On a terminal the picture is renewed until Ctrl-C; elsewhere each is printed below the last.`,
		Example: "  rtmps-edge top\n  rtmps-edge top -n 1\n  rtmps-edge top --every 10s --json | jq .status.publishers",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return t.run(cmd, f) },
	}
	f.add(c)
	c.Flags().IntVarP(&t.times, "times", "n", 0, "end after so many pictures; 0 = never")
	c.Flags().DurationVar(&t.every, "every", time.Second, "the least time between two pictures")
	return c
}

// top shows states as they come.
type top struct {
	every time.Duration
	times int

	out     io.Writer
	json    bool
	live    bool // on a terminal, which is written anew each time
	shown   int
	last    time.Time
	history map[string][]int64
}

func (t *top) run(cmd *cobra.Command, f *steerFlags) error {
	c, err := f.client()
	if err != nil {
		return err
	}
	t.out, t.json = cmd.OutOrStdout(), f.json
	t.live = !t.json && t.times != 1 && terminal.Is(t.out)
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if t.live { // another screen, without a cursor, on which lines are cut; all comes back at the end
		fmt.Fprint(t.out, "\x1b[?1049h\x1b[?25l\x1b[?7l")
		defer fmt.Fprint(t.out, "\x1b[?7h\x1b[?25h\x1b[?1049l")
	}
	err = c.Follow(ctx, t.take)
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		return nil
	}
	return f.failed(cmd, err)
}

// take reports whether another state is wanted.
func (t *top) take(s admin.State) bool {
	t.remember(s.Sessions)
	if now := time.Now(); now.Sub(t.last) >= t.every-100*time.Millisecond { // they come a little unevenly
		t.last = now
		t.shown++
		t.show(s)
	}
	return t.times == 0 || t.shown < t.times
}

func (t *top) remember(list []admin.Session) {
	alive := map[string][]int64{}
	for _, s := range list {
		h := append(t.history[s.ID], s.Bitrate)
		alive[s.ID] = h[max(0, len(h)-topHistory):]
	}
	t.history = alive
}

func (t *top) show(s admin.State) {
	if t.json {
		_ = json.NewEncoder(t.out).Encode(s)
		return
	}
	var b bytes.Buffer
	width, height := 0, 0
	if t.live {
		width, height = terminal.Size(t.out)
	}
	t.draw(&b, s, width, height)
	if !t.live {
		if t.shown > 1 {
			_, _ = io.WriteString(t.out, "\n")
		}
		_, _ = t.out.Write(b.Bytes())
		return
	}
	// From the upper left corner, each line wiped to its end, and what is below.
	text := strings.ReplaceAll(strings.TrimSuffix(b.String(), "\n"), "\n", "\x1b[K\n")
	_, _ = io.WriteString(t.out, "\x1b[H"+text+"\x1b[K\x1b[J")
}

// draw writes one picture. It has no more lines than height, unless that is 0.
func (t *top) draw(w io.Writer, s admin.State, width, height int) {
	p := terminal.Colours(t.out)
	head := t.heading(s, p)
	rows := slices.Clone(s.Sessions)
	slices.SortStableFunc(rows, func(a, b admin.Session) int { return cmp.Compare(rank(a), rank(b)) })
	hidden := 0
	if room := height - len(head) - 2; height > 0 && len(rows) > room {
		hidden = len(rows) - max(room-1, 0)
		rows = rows[:len(rows)-hidden]
	}
	for _, line := range head {
		fmt.Fprintln(w, line)
	}
	if len(s.Sessions) == 0 {
		fmt.Fprintln(w, "no stream runs")
		return
	}
	sessionTable(rows, t.history).print(w, p, width)
	if hidden > 0 {
		fmt.Fprintln(w, p.Faint(fmt.Sprintf("… and %d more", hidden)))
	}
}

func rank(s admin.Session) int {
	return slices.Index([]string{"bad", "poor", "good"}, s.Health)
}

// heading is what stands above the streams.
func (t *top) heading(s admin.State, p terminal.Palette) []string {
	state := p.Good("ready")
	switch {
	case s.Status.Draining:
		state = p.Bad("draining")
	case !s.Status.Ready:
		state = p.Bad("not ready: " + terminal.Plain(strings.Join(s.Status.Reasons, "; ")))
	}
	var in, out int64
	for _, v := range s.Sessions {
		if v.Action == "play" {
			out += v.Bitrate
		} else {
			in += v.Bitrate
		}
	}
	lines := []string{
		fmt.Sprintf("%s  %s  up %s", p.Strong("rtmps-edge "+terminal.Plain(s.Status.Version)), state, span(s.Status.Seconds)),
		fmt.Sprintf("%d publishing %s, %d playing %s, %s", s.Status.Publishers, bits(in), s.Status.Players, bits(out), count(s.Status.Connections, "connection")),
	}
	if line := refusals(s.Status.Refused); line != "" {
		lines = append(lines, line)
	}
	if line := downServers(s.Origins, p); line != "" {
		lines = append(lines, line)
	}
	return append(lines, "")
}

// refusals are the most frequent reasons.
func refusals(list []admin.Refused) string {
	var parts []string
	for _, r := range list[:min(len(list), 5)] {
		parts = append(parts, fmt.Sprintf("%d %s (%s)", r.Count, terminal.Plain(r.Reason), r.Stage))
	}
	if len(parts) == 0 {
		return ""
	}
	return "refused: " + strings.Join(parts, ", ")
}

func downServers(list []admin.Origin, p terminal.Palette) string {
	var parts []string
	for _, o := range list {
		for _, s := range o.Servers {
			if !s.Up {
				parts = append(parts, terminal.Plain(o.Name+" "+s.Address))
			}
		}
	}
	if len(parts) == 0 {
		return ""
	}
	return p.Bad("origin down: " + strings.Join(parts, ", "))
}
