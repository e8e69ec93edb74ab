package main

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// costs runs the benchmarks of the limits, on the proxy's core; the Redis that
// some of them speak to is a real one, on the other.
var costs = scenario{
	name:  "costs",
	alone: (*bench).costs,
}

const costsTitle = "Costs of the limits: an admission, a stream's place, a read of a paced stream; what a table holds of a million addresses"

// redisServer is no peer, but has to be installed.
var redisServer = kind{name: "redis", binary: "redis-server", packages: []string{"redis-server"}, version: []string{"--version"}}

// costBenchmarks are those of package ratelimit that are told of, and redisVariable
// is how they learn where Redis is.
const (
	costBenchmarks = "^Benchmark(Admit|Banned|Failed|Take|Wait|WaitUnlimited|ClusterAdmit|ClusterTake|ClusterWait|MillionAdmissions|MillionBans)$"
	redisVariable  = "RATELIMIT_REDIS"
)

func (b *bench) costs() error {
	fmt.Printf("\n%s\n", costsTitle)
	if _, err := exec.LookPath("go"); err != nil {
		return errors.New("the benchmarks of the limits need Go, and are run from the folder of the project")
	}
	addr, stop, err := startRedis(b.dir)
	if err != nil {
		return err
	}
	defer stop()
	command := append(pinned(proxyCore), "go", "test", "-run", "^$", "-bench", costBenchmarks, "-cpu", "1",
		"-benchtime", strconv.Itoa(b.pick(1000, 200))+"ms", "./ratelimit")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Env = append(os.Environ(), redisVariable+"="+addr)
	cmd.SysProcAttr = notOutliving()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	for line := range strings.Lines(string(out)) {
		if line, ok := strings.CutPrefix(line, "Benchmark"); ok {
			fmt.Print("  ", line)
		}
	}
	return nil
}

// startRedis runs one that keeps nothing, and waits until it listens.
func startRedis(dir string) (addr string, stop func(), err error) {
	if addr, err = freeAddress(); err != nil {
		return "", nil, err
	}
	_, port, _ := net.SplitHostPort(addr)
	command := append(pinned(loadCore), redisServer.binary, "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	cmd := exec.Command(command[0], command[1:]...)
	cmd.SysProcAttr = notOutliving()
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		cmd.Process.Kill()
		cmd.Wait()
	}
	for range 500 {
		if c, err := net.Dial("tcp", addr); err == nil {
			return addr, stop, c.Close()
		}
		time.Sleep(20 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("the Redis server does not listen")
}
