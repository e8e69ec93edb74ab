package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/mod/module"
)

// part is one module in the program, or the standard library.
type part struct {
	path, version, sum string
	license            string // its SPDX identifier
	texts              []text
}

// text is a licence, or what a licence asks to be passed on.
type text struct{ name, body string }

// partsOf looks all modules up. One without a licence that is known is an error:
// somebody has to read it before it is passed on.
func partsOf(info *debug.BuildInfo, root, cache string) ([]part, error) {
	std := part{path: "std", version: strings.TrimPrefix(info.GoVersion, "go")}
	parts := []part{std}
	dirs := []string{root}
	for _, m := range info.Deps {
		for m.Replace != nil {
			m = m.Replace
		}
		path, err := module.EscapePath(m.Path)
		if err != nil {
			return nil, err
		}
		version, err := module.EscapeVersion(m.Version)
		if err != nil {
			return nil, err
		}
		parts = append(parts, part{path: m.Path, version: m.Version, sum: m.Sum})
		dirs = append(dirs, filepath.Join(cache, filepath.FromSlash(path)+"@"+version))
	}
	for i := range parts {
		if err := parts[i].read(dirs[i]); err != nil {
			return nil, err
		}
	}
	return parts, nil
}

// read looks for licences in a module's directory.
func (p *part) read(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("%s: %w (is it downloaded? go mod download)", p.path, err)
	}
	for _, e := range entries {
		if !e.Type().IsRegular() || !isLegal(e.Name()) {
			continue
		}
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		p.texts = append(p.texts, text{e.Name(), string(body)})
		if id := identify(string(body)); id != "" && p.license == "" {
			p.license = id
		}
	}
	if p.license == "" {
		return fmt.Errorf("%s %s has no licence that is known: look at %s", p.path, p.version, dir)
	}
	return nil
}

func isLegal(name string) bool {
	name = strings.ToUpper(name)
	return slices.ContainsFunc([]string{"LICENSE", "LICENCE", "COPYING", "NOTICE", "PATENTS"}, func(p string) bool {
		return name == p || strings.HasPrefix(name, p+".") || strings.HasPrefix(name, p+"-")
	})
}

// identify knows licences by words that no other has.
func identify(body string) string {
	body = strings.Join(strings.Fields(body), " ")
	for _, l := range []struct{ words, id string }{
		{"Mozilla Public License Version 2.0", "MPL-2.0"},
		{"Mozilla Public License, version 2.0", "MPL-2.0"},
		{"Apache License Version 2.0", "Apache-2.0"},
		{"Neither the name of", "BSD-3-Clause"},
		{"Redistribution and use in source and binary forms", "BSD-2-Clause"},
		{"Permission is hereby granted, free of charge, to any person obtaining a copy", "MIT"},
		{"Permission to use, copy, modify, and/or distribute this software for any purpose", "ISC"},
		{"CC0 1.0 Universal", "CC0-1.0"},
	} {
		if strings.Contains(body, l.words) {
			return l.id
		}
	}
	return ""
}

// noticesOf are the texts that the licences ask to be passed on.
func noticesOf(parts []part) []byte {
	var b bytes.Buffer
	b.WriteString("rtmps-edge holds the following software of others.\n")
	for _, p := range parts {
		fmt.Fprintf(&b, "\n%s\n%s %s (%s)\n", strings.Repeat("=", 78), p.path, p.version, p.license)
		if p.license == "MPL-2.0" {
			fmt.Fprintf(&b, "Its source, unchanged, is at https://proxy.golang.org/%s/@v/%s.zip\n", p.path, p.version)
		}
		for _, t := range p.texts {
			fmt.Fprintf(&b, "\n--- %s\n\n%s\n", t.name, strings.TrimSpace(t.body))
		}
	}
	return b.Bytes()
}
