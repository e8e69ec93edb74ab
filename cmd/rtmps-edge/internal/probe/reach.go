package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
)

// lookUp finds the host's addresses.
func (p *prober) lookUp(ctx context.Context) ([]string, bool) {
	addresses, err := p.resolver.LookupHost(ctx, p.Target.Host)
	var dns *net.DNSError
	switch {
	case err == nil:
		return addresses, p.end(Step{Name: stepDNS, Detail: strings.Join(addresses, ", "), Addresses: addresses})
	case errors.As(err, &dns) && dns.IsNotFound:
		return nil, p.fail(stepDNS, NoSuchHost, "there is no host "+p.Target.Host)
	}
	return nil, p.fail(stepDNS, NoDNS, err.Error())
}

// dial tries one address after the other, as encoders do that try more than one.
func (p *prober) dial(ctx context.Context, addresses []string) (net.Conn, bool) {
	d := net.Dialer{Timeout: dialTimeout}
	var failed []Finding
	for _, a := range addresses {
		a = net.JoinHostPort(a, p.Target.Port)
		conn, err := d.DialContext(ctx, "tcp", a)
		if err != nil {
			failed = append(failed, undialed(a, err))
			continue
		}
		p.address = a
		for i := range failed {
			failed[i].Cure = "Encoders that try the first address only do not get in: let the server listen there too, or take that address out of DNS."
		}
		return conn, p.end(Step{Name: stepTCP, Detail: "connected to " + a, Warnings: failed})
	}
	p.end(Step{Name: stepTCP, Failures: failed})
	return nil, false
}

// undialed says why an address could not be reached.
func undialed(address string, err error) Finding {
	var dial *net.OpError
	var timeout interface{ Timeout() bool }
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return Finding{Problem: NothingListens, Text: "nothing listens on " + address}
	case errors.As(err, &timeout) && timeout.Timeout():
		return Finding{Problem: NoAnswer, Text: "no answer from " + address}
	case errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return Finding{Problem: Unreachable, Text: "no way to " + address}
	case errors.As(err, &dial):
		err = dial.Err
	}
	return Finding{Problem: Unreachable, Text: fmt.Sprintf("cannot connect to %s: %v", address, err)}
}

// hungUp reports whether the peer closed the connection or broke it off.
func hungUp(err error) bool {
	return isEOF(err) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// late reports whether err is that of a deadline.
func late(err error) bool {
	return errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, context.DeadlineExceeded)
}
