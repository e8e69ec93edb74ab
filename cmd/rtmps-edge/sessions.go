package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"net/netip"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"rtmps-edge/admin"
	"rtmps-edge/internal/terminal"
)

func sessionsCommand() *cobra.Command {
	f := &steerFlags{}
	c := &cobra.Command{
		Use:     "sessions",
		Short:   "List the streams of the running edge",
		Example: "  rtmps-edge sessions\n  rtmps-edge sessions --json | jq '.[] | select(.health != \"good\")'",
		Args:    noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return ask(cmd, f, "GET", "/api/v1/sessions", showSessions)
		},
	}
	f.add(c)
	return c
}

func showSessions(w io.Writer, list []admin.Session) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no stream runs")
		return
	}
	sessionTable(list, nil).print(w, terminal.Colours(w), 0)
}

// sessionTable has one row for each stream; history are its latest bit rates, if
// they are known.
func sessionTable(list []admin.Session, history map[string][]int64) *table {
	t := &table{head: []string{"ID", "HEALTH", "", "STREAM", "SUBJECT", "CLIENT", "FOR", "BITRATE", "VIDEO", "FPS", "KEY", "AUDIO", "PROBLEMS"}}
	if history != nil {
		t.head[7] = "BITRATE, LATELY"
	}
	for _, s := range list {
		rate := bits(s.Bitrate)
		if history != nil {
			rate = fmt.Sprintf("%-11s %s", rate, blocks(history[s.ID]))
		}
		t.rows = append(t.rows, []string{s.ID, s.Health, verb(s), streamOf(s), cmp.Or(s.Subject, "-"), s.Client, span(s.Seconds), rate,
			picture(s), number(s.FPS), seconds(s.KeyframeSeconds), cmp.Or(s.Audio, "-"), strings.Join(s.Problems, "; ")})
	}
	t.paint = func(p terminal.Palette, column int, row []string, text string) string {
		switch {
		case column != 1:
			return text
		case row[1] == "good":
			return p.Good(text)
		case row[1] == "poor":
			return p.Doubtful(text)
		}
		return p.Bad(text)
	}
	return t
}

func verb(s admin.Session) string {
	if s.Action == "play" {
		return "▶"
	}
	return "●"
}

// streamOf is app and name, or what stands for a name that may be a credential.
func streamOf(s admin.Session) string {
	if s.Name == "" {
		return s.App + "/key-" + s.Key
	}
	return s.App + "/" + s.Name
}

func picture(s admin.Session) string {
	switch {
	case s.Video == "":
		return "-"
	case s.Width == 0 || s.Height == 0:
		return s.Video
	}
	return fmt.Sprintf("%s %dx%d", s.Video, s.Width, s.Height)
}

func number(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", f)
}

func seconds(f float64) string {
	if f == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1fs", f)
}

func bits(n int64) string {
	switch {
	case n >= 1e6:
		return fmt.Sprintf("%.2f Mbit/s", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.0f kbit/s", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bit/s", n)
}

func span(s float64) string {
	d := time.Duration(s * float64(time.Second)).Truncate(time.Second)
	switch {
	case d >= 24*time.Hour:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d/time.Hour%24)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%02dm", d/time.Hour, d/time.Minute%60)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%02ds", d/time.Minute, d/time.Second%60)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// blocks draws values as high as the highest of them allows.
func blocks(values []int64) string {
	const eighths = "▁▂▃▄▅▆▇█"
	most := int64(1)
	for _, v := range values {
		most = max(most, v)
	}
	var b strings.Builder
	for _, v := range values {
		i := int(math.Round(float64(v) / float64(most) * 7))
		b.WriteRune([]rune(eighths)[min(max(i, 0), 7)])
	}
	return b.String()
}

// table is text in columns. Texts of strangers are made safe.
type table struct {
	head  []string
	rows  [][]string
	paint func(p terminal.Palette, column int, row []string, text string) string
}

// print writes the table. Lines longer than width are cut; 0 = none is.
func (t *table) print(w io.Writer, p terminal.Palette, width int) {
	wide := make([]int, len(t.head))
	all := [][]string{t.head}
	for _, row := range t.rows {
		plain := make([]string, len(row))
		for i, text := range row {
			plain[i] = terminal.Plain(text)
		}
		all = append(all, plain)
	}
	for _, row := range all {
		for i, text := range row {
			wide[i] = max(wide[i], utf8.RuneCountInString(text))
		}
	}
	for n, row := range all {
		left := width
		if width == 0 {
			left = math.MaxInt
		}
		for i, text := range row {
			if i < len(row)-1 {
				text += strings.Repeat(" ", wide[i]-utf8.RuneCountInString(text)+2)
			}
			text = cut(text, left)
			left -= utf8.RuneCountInString(text)
			switch {
			case n == 0:
				text = p.Strong(text)
			case t.paint != nil:
				text = t.paint(p, i, row, text)
			}
			_, _ = io.WriteString(w, text)
		}
		_, _ = io.WriteString(w, "\n")
	}
}

func cut(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:max(n, 0)])
}

func bansCommand() *cobra.Command {
	f := &steerFlags{}
	c := &cobra.Command{
		Use:     "bans",
		Short:   "List the bans of the running edge, set and lift them",
		Example: "  rtmps-edge bans\n  rtmps-edge bans add 192.0.2.7 --for 24h --why 'guesses keys'\n  rtmps-edge bans lift 192.0.2.7",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return ask(cmd, f, "GET", "/api/v1/bans", showBans) },
	}
	f.add(c)
	c.AddCommand(bansAddCommand(), bansLiftCommand(), bansNearCommand())
	return c
}

func showBans(w io.Writer, list []admin.Ban) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no address is banned")
		return
	}
	t := &table{head: []string{"NETWORK", "LEFT", "UNTIL", "COUNT", "BY HAND", "WHY"}}
	for _, b := range list {
		by := "no"
		if b.ByHand {
			by = "yes"
		}
		t.rows = append(t.rows, []string{b.Network, span(time.Until(b.Until).Seconds()), b.Until.Local().Format(time.DateTime), fmt.Sprint(b.Count), by, b.Why})
	}
	t.print(w, terminal.Colours(w), 0)
}

func bansNearCommand() *cobra.Command {
	f := &steerFlags{}
	c := &cobra.Command{
		Use:     "near",
		Short:   "List the addresses that take half of a limit or more",
		Example: "  rtmps-edge bans near",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return ask(cmd, f, "GET", "/api/v1/near", showNear) },
	}
	f.add(c)
	return c
}

func showNear(w io.Writer, list []admin.Near) {
	if len(list) == 0 {
		fmt.Fprintln(w, "no address is near a limit")
		return
	}
	t := &table{head: []string{"NETWORK", "LIMIT", "PART", "CONNECTIONS", "STREAMS", "FAILURES"}}
	for _, n := range list {
		t.rows = append(t.rows, []string{n.Network, n.Limit, fmt.Sprintf("%.0f %%", 100*n.Part), fmt.Sprint(n.Connections), fmt.Sprint(n.Streams), fmt.Sprint(n.Failures)})
	}
	t.print(w, terminal.Colours(w), 0)
}

func bansAddCommand() *cobra.Command {
	f, d, why := &steerFlags{}, 10*time.Minute, ""
	c := &cobra.Command{
		Use:     "add ADDRESS",
		Short:   "Ban an address; of an IPv6 address, its /64",
		Example: "  rtmps-edge bans add 192.0.2.7 --for 24h --why 'guesses keys'",
		Args:    oneArg("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if d <= 0 {
				return &badUse{errors.New("--for must be a duration, such as 10m or 24h")}
			}
			path, err := banPath(args[0])
			if err != nil {
				return err
			}
			return ask(cmd, f, "POST", path+"?for="+d.String()+"&why="+url.QueryEscape(why), showDone)
		},
	}
	f.add(c)
	c.Flags().DurationVar(&d, "for", d, "how long, as 10m or 24h")
	c.Flags().StringVar(&why, "why", "", "in a few words, for those who see the list")
	return c
}

func bansLiftCommand() *cobra.Command {
	f := &steerFlags{}
	c := &cobra.Command{
		Use:     "lift ADDRESS",
		Short:   "Lift a ban",
		Example: "  rtmps-edge bans lift 192.0.2.7",
		Args:    oneArg("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, err := banPath(args[0])
			if err != nil {
				return err
			}
			return ask(cmd, f, "DELETE", path, showDone)
		},
	}
	f.add(c)
	return c
}

// banPath is that of an address, or of a network as the list has it.
func banPath(text string) (string, error) {
	if p, err := netip.ParsePrefix(text); err == nil {
		return "/api/v1/bans/" + p.String(), nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return "", &badUse{fmt.Errorf("%q is no IP address", text)}
	}
	return "/api/v1/bans/" + a.WithZone("").String(), nil
}
