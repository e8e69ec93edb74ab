package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What is looked at is this test, which has modules of others in it.
func TestBillOfThisProgram(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	notices := filepath.Join(t.TempDir(), "NOTICES")
	var first, second bytes.Buffer
	for _, w := range []*bytes.Buffer{&first, &second} {
		if err := run(w, self, "1.2.3", notices); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two bills of one program differ")
	}
	var d document
	if err := json.Unmarshal(first.Bytes(), &d); err != nil {
		t.Fatal(err)
	}
	if d.Format != "CycloneDX" || d.Spec != "1.6" || d.Version != 1 || !regexp.MustCompile(`^urn:uuid:[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$`).MatchString(d.Serial) {
		t.Errorf("%+v", d)
	}
	main := d.Metadata.Component
	if main.Version != "1.2.3" || main.PURL != "pkg:golang/rtmps-edge@1.2.3" || len(main.Hashes) != 1 || len(main.Hashes[0].Content) != 64 {
		t.Errorf("%+v", main)
	}
	refs := map[string]bool{main.Ref: true}
	for _, c := range d.Components {
		if refs[c.Ref] || c.Version == "" || len(c.Licenses) != 1 || c.Licenses[0].License.ID == "" {
			t.Errorf("%+v", c)
		}
		refs[c.Ref] = true
	}
	if !refs["pkg:golang/golang.org/x/mod@"+versionOf(d, "golang.org/x/mod")] || versionOf(d, "std") == "" {
		t.Errorf("the parts are %v", refs)
	}
	for _, ref := range d.Dependencies[0].DependsOn {
		if !refs[ref] {
			t.Errorf("%s is no part", ref)
		}
	}
	text, err := os.ReadFile(notices)
	if err != nil || !strings.Contains(string(text), "golang.org/x/mod") || !strings.Contains(string(text), "The Go Authors") {
		t.Errorf("%v, %d bytes of notices", err, len(text))
	}
}

func versionOf(d document, name string) string {
	for _, c := range d.Components {
		if c.Name == name {
			return c.Version
		}
	}
	return ""
}

func TestIdentify(t *testing.T) {
	for text, want := range map[string]string{
		"Apache License\n                           Version 2.0, January 2004":          "Apache-2.0",
		"Mozilla Public License Version 2.0\n":                                          "MPL-2.0",
		"Redistribution and use in source and binary\nforms … Neither the name\nof":     "BSD-3-Clause",
		"Redistribution and use in source and binary forms, with":                       "BSD-2-Clause",
		"Permission is hereby granted, free of charge, to any person\nobtaining a copy": "MIT",
		"All rights reserved.": "",
	} {
		if got := identify(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestAModuleWithoutLicenceIsAnError(t *testing.T) {
	dir := t.TempDir()
	p := part{path: "example.com/x", version: "v1.0.0"}
	if err := p.read(dir); err == nil || !strings.Contains(err.Error(), "example.com/x v1.0.0 has no licence") {
		t.Error(err)
	}
	if err := p.read(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a module that is not there has a licence")
	}
	for name, body := range map[string]string{"LICENSE.md": "Apache License Version 2.0", "NOTICE": "made by x", "license_test.go": "MIT"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(body), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.read(dir); err != nil || p.license != "Apache-2.0" || len(p.texts) != 2 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestPURL(t *testing.T) {
	if got := purl("github.com/BurntSushi/toml", "v1.0.0+incompatible"); got != "pkg:golang/github.com/burntsushi/toml@v1.0.0%2Bincompatible" {
		t.Error(got)
	}
}
