package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"rtmps-edge/authz"
	"rtmps-edge/config"
)

func userCommand() *cobra.Command {
	c := &cobra.Command{
		Use:   "user",
		Short: "Keep users.toml: add, list, remove users with passwords",
		Long: `Keep the users of publish = ["password"], for encoders that log in with a user and a password ("Use authentication"
of OBS, authmod=adobe and authmod=llnw). Their passwords stand readable in users.toml: that old protocol cannot be checked with a hash.
Stream keys (rtmps-edge key) can be.`,
		Example: "  rtmps-edge user add alice --app live\n  rtmps-edge user list\n  rtmps-edge user remove alice",
		Args:    noArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	c.AddCommand(userAddCommand(), userListCommand(), userRemoveCommand())
	return c
}

func usersFlags() fileFlags { return fileFlags{kind: "users.toml", find: config.UsersFile} }

// newUser are the flags of "user add".
type newUser struct {
	fileFlags
	termsFlags
	stream string
	names  []string
	stdin  bool
	asJSON bool
}

func userAddCommand() *cobra.Command {
	n := newUser{fileFlags: usersFlags()}
	c := &cobra.Command{
		Use:   "add NAME",
		Short: "Make a user and a password; it is printed once",
		Long: `Make a user who logs in as NAME, with a new password. It goes to standard output, all else to standard error. A running
edge knows it within a second. The origin sees the stream as NAME, whatever the encoder calls it, unless --stream or --names say otherwise.`,
		Example: "  rtmps-edge user add alice --app live\n  rtmps-edge user add studio --names 'studio-*'\n  rtmps-edge user add bob --stdin < password.txt",
		Args:    oneArg("NAME"),
		RunE:    func(cmd *cobra.Command, args []string) error { return n.run(cmd, args[0]) },
	}
	n.fileFlags.add(c)
	n.termsFlags.add(c)
	c.Flags().StringVar(&n.stream, "stream", "", "stream name at the origin (default NAME)")
	c.Flags().StringSliceVar(&n.names, "names", nil, "stream names that the encoder may choose, as globs")
	c.Flags().BoolVar(&n.stdin, "stdin", false, "take the password from standard input instead of making one")
	addJSON(c, &n.asJSON)
	return c
}

func (n *newUser) run(cmd *cobra.Command, name string) error {
	terms, err := n.terms(name, n.stream, time.Now())
	if err != nil {
		return &badUse{err}
	}
	password := authz.GenerateKey()
	if n.stdin {
		if password, err = readSecret(cmd.InOrStdin(), "Password", authz.MaxPassword); err != nil {
			return &badUse{err}
		}
	}
	u := authz.User{Terms: terms, User: name, Password: password, Names: n.names}
	if err := authz.AddUser(n.path(), u); err != nil {
		return entriesError(err)
	}
	return n.printUser(cmd, u)
}

// printUser shows the password this once.
func (n *newUser) printUser(cmd *cobra.Command, u authz.User) error {
	if n.asJSON {
		s := showUser(u)
		a := added{File: n.path(), User: s.User, shownTerms: s.shownTerms, Names: s.Names}
		if !n.stdin {
			a.Password = u.Password.Reveal()
		}
		return writeJSON(cmd.OutOrStdout(), a)
	}
	w := cmd.ErrOrStderr()
	fmt.Fprintf(w, "Added to %s.\n", n.path())
	if !n.stdin {
		fmt.Fprintf(w, "The password of %s, shown only now:\n\n", u.User)
		if _, err := fmt.Fprintln(cmd.OutOrStdout(), u.Password.Reveal()); err != nil {
			return err
		}
	}
	fmt.Fprintf(w, "\nOBS: Settings > Stream > Service: Custom, Use authentication, Username %s, Password: the line above, any Stream Key.\n", u.User)
	return nil
}

func userListCommand() *cobra.Command {
	return listCommand("user", "Show users and what they may, never their passwords", usersFlags(), func(path string) (any, [][]string, error) {
		users, err := authz.ListUsers(path)
		shown, rows := []shownUser{}, [][]string{append([]string{"USER"}, termsHead...)}
		for _, u := range users {
			s := showUser(u)
			shown, rows = append(shown, s), append(rows, append([]string{s.User}, s.row()...))
		}
		return shown, rows, err
	})
}

// shownUser is what a list tells of a user.
type shownUser struct {
	User string `json:"user"`
	shownTerms
	Names []string `json:"names,omitempty"`
}

func showUser(u authz.User) shownUser {
	s := shownUser{User: u.User, shownTerms: showTerms(u.Terms), Names: u.Names}
	if u.Name == "" && len(u.Names) > 0 {
		s.Name = strings.Join(u.Names, ",")
	}
	return s
}

func userRemoveCommand() *cobra.Command {
	return removeCommand("user", "NAME", "Take a user away; a running edge ends the user's streams", "user", usersFlags(),
		func(path, name string) (int, error) {
			return authz.RemoveUsers(path, func(u authz.User) bool { return u.User == name })
		})
}
