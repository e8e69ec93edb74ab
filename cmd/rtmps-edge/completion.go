package main

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/admin"
	"rtmps-edge/authz"
	"rtmps-edge/internal/terminal"
)

// completeTimeout is how long a running edge may take to tell what there is: who
// has pressed a key waits for it.
const completeTimeout = 500 * time.Millisecond

// complete lets shells complete file names where one is meant, subjects and users
// where those are, what the running edge has where that is, and nothing elsewhere.
func complete(root *cobra.Command) {
	completeFiles(root)
	for path, f := range map[string]func(*cobra.Command) []string{"key remove": subjects, "user remove": users, "kick": sessionIDs, "bans lift": bannedNetworks} {
		if c, _, err := root.Find(strings.Fields(path)); err == nil {
			c.ValidArgsFunction = first(f)
		}
	}
}

func completeFiles(c *cobra.Command) {
	if c.ValidArgsFunction == nil {
		c.ValidArgsFunction = cobra.NoFileCompletions
	}
	if c.Flags().Lookup("config") != nil {
		_ = c.MarkFlagFilename("config", "toml")
	}
	for _, sub := range c.Commands() {
		completeFiles(sub)
	}
}

// first completes the first argument.
func first(f func(*cobra.Command) []string) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c), cobra.ShellCompDirectiveNoFileComp
	}
}

// subjects are those in keys.toml; a file that cannot be read has none.
func subjects(c *cobra.Command) (names []string) {
	keys, _ := authz.ListKeys(named(c, keysFlags()))
	for _, k := range keys {
		names = append(names, k.Subject)
	}
	return names
}

// users are those in users.toml, likewise.
func users(c *cobra.Command) (names []string) {
	all, _ := authz.ListUsers(named(c, usersFlags()))
	for _, u := range all {
		names = append(names, u.User)
	}
	return names
}

// named is the file that the flags typed so far name.
func named(c *cobra.Command, f fileFlags) string {
	f.file, _ = c.Flags().GetString("file")
	f.config, _ = c.Flags().GetString("config")
	return f.path()
}

// sessionIDs are those of the running edge, with what they are.
func sessionIDs(c *cobra.Command) (ids []string) {
	for _, s := range running[admin.Session](c, "/api/v1/sessions") {
		what := verb(s) + " " + streamOf(s)
		if from := cmp.Or(s.Subject, s.Client); from != "" {
			what += ", " + from
		}
		ids = append(ids, described(s.ID, what))
	}
	return ids
}

// bannedNetworks are those of the running edge, with why they are.
func bannedNetworks(c *cobra.Command) (networks []string) {
	for _, b := range running[admin.Ban](c, "/api/v1/bans") {
		networks = append(networks, described(b.Network, b.Why))
	}
	return networks
}

// described is a completion with what the shell shows beside it, which strangers
// may have chosen.
func described(word, what string) string {
	return cobra.CompletionWithDesc(word, terminal.Plain(what))
}

// running asks the edge that the flags typed so far name. One that cannot be
// asked, or takes long, has nothing: a shell's prompt is no place for faults.
func running[T any](c *cobra.Command, path string) (list []T) {
	f := &steerFlags{}
	f.config, _ = c.Flags().GetString("config")
	f.at, _ = c.Flags().GetString("admin")
	f.tokenFile, _ = c.Flags().GetString("token-file")
	client, err := f.client()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), completeTimeout)
	defer cancel()
	if client.Get(ctx, path, &list) != nil {
		return nil
	}
	return list
}
