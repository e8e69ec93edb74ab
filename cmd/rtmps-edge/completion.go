package main

import (
	"strings"

	"github.com/spf13/cobra"

	"rtmps-edge/authz"
)

// complete lets shells complete file names where one is meant, subjects and users
// where those are, and nothing elsewhere.
func complete(root *cobra.Command) {
	completeFiles(root)
	for path, f := range map[string]func(*cobra.Command) []string{"key remove": subjects, "user remove": users} {
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
