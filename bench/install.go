package main

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// missing returns the Debian packages of peers that are not installed.
func missing(kinds []kind) (packages []string) {
	for _, k := range kinds {
		if k.packages == nil {
			continue
		}
		_, err := exec.LookPath(k.binary)
		if err == nil && k.name == "nginx" {
			_, err = os.Stat("/usr/lib/nginx/modules/ngx_stream_module.so")
		}
		if err != nil {
			packages = append(packages, k.packages...)
		}
	}
	return packages
}

// install gets what is missing when it may; otherwise it says what to do.
func install(kinds []kind) error {
	packages := missing(kinds)
	if len(packages) == 0 {
		return nil
	}
	args := append([]string{"install", "-y", "--no-install-recommends"}, packages...)
	if os.Getuid() != 0 {
		return fmt.Errorf("peers are missing; run: sudo apt-get %s\n(or choose others with -peer)", strings.Join(args, " "))
	}
	fmt.Fprintln(os.Stderr, "installing", packages)
	cmd := exec.Command("apt-get", args...)
	cmd.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}
