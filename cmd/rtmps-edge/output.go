package main

import (
	"encoding/json"
	"io"

	"github.com/spf13/cobra"
)

// addJSON gives a command --json, as every command has it that prints an answer.
// With it, standard output holds one JSON value and nothing else; why a command
// failed stands on standard error, with or without it.
func addJSON(c *cobra.Command, asJSON *bool) {
	c.Flags().BoolVar(asJSON, "json", false, "as JSON")
}

// writeJSON writes v for people and programs.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false) // nobody puts it into a page
	return e.Encode(v)
}
