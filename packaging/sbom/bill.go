package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"runtime/debug"
	"strings"
)

// document is a CycloneDX bill of materials, as far as it is used here.
type document struct {
	Format       string       `json:"bomFormat"`
	Spec         string       `json:"specVersion"`
	Serial       string       `json:"serialNumber"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Timestamp string    `json:"timestamp,omitempty"`
	Component component `json:"component"`
}

type component struct {
	Type       string     `json:"type"`
	Ref        string     `json:"bom-ref"`
	Name       string     `json:"name"`
	Version    string     `json:"version,omitempty"`
	PURL       string     `json:"purl,omitempty"`
	Hashes     []hash     `json:"hashes,omitempty"`
	Licenses   []license  `json:"licenses,omitempty"`
	Properties []property `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type license struct {
	License struct {
		ID string `json:"id"`
	} `json:"license"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn,omitempty"`
}

// bill says what a program was made of. There is nothing in it but what follows
// from the program and its commit: its serial number is its hash, at the time of
// the commit.
func bill(info *debug.BuildInfo, version, sum, at string, parts []part) document {
	main := component{Type: "application", Name: "rtmps-edge", Version: version, PURL: purl(info.Main.Path, version),
		Hashes: []hash{{"SHA-256", sum}}, Licenses: licenses("MIT")}
	main.Ref = main.PURL
	d := document{Format: "CycloneDX", Spec: "1.6", Serial: serial(sum), Version: 1, Components: []component{}}
	d.Metadata.Timestamp = at
	for _, s := range info.Settings {
		main.Properties = append(main.Properties, property{"go:build:" + s.Key, s.Value})
	}
	d.Metadata.Component = main
	all := dependency{Ref: main.Ref}
	for _, p := range parts {
		c := p.component()
		d.Components = append(d.Components, c)
		all.DependsOn = append(all.DependsOn, c.Ref)
	}
	d.Dependencies = []dependency{all}
	return d
}

func (p part) component() component {
	c := component{Type: "library", Name: p.path, Version: p.version, PURL: purl(p.path, p.version), Licenses: licenses(p.license)}
	c.Ref = c.PURL
	if p.sum != "" {
		c.Properties = []property{{"go:sum", p.sum}}
	}
	return c
}

func licenses(id string) []license {
	var l license
	l.License.ID = id
	return []license{l}
}

// purl is the package URL of a Go module: small letters, and escaped.
func purl(path, version string) string {
	return "pkg:golang/" + strings.ToLower(path) + "@" + url.QueryEscape(version)
}

// serial makes a UUID (version 8: of one's own making) from a hash.
func serial(sum string) string {
	return fmt.Sprintf("urn:uuid:%s-%s-8%s-8%s-%s", sum[:8], sum[8:12], sum[13:16], sum[17:20], sum[20:32])
}

func sumOf(file string) (string, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return hex.EncodeToString(sum[:]), nil
}
