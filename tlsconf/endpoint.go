package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"sync/atomic"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/hello"
)

// endpoint is what all sources share: a table of certificates and the
// authorities of clients, both swapped while handshakes go on.
type endpoint struct {
	opts    Options
	table   atomic.Pointer[table]
	clients atomic.Pointer[clientCAs]
}

// open checks the options and reads the file that they name.
func (e *endpoint) open(o Options) error {
	e.opts = o.withDefaults()
	e.table.Store(&table{})
	var faults fault.List
	if !o.Profile.Valid() {
		faults.Add(fault.Fault{Key: "profile", Value: string(o.Profile), Problem: `must be "modern", "encoder" or "legacy"`})
	}
	if !o.ClientAuth.Valid() {
		faults.Add(fault.Fault{Key: "client_auth", Value: string(o.ClientAuth), Problem: `must be "off", "optional" or "required"`})
	}
	clients, err := e.readClients()
	faults = append(faults, faultsOf(err)...)
	e.clients.Store(clients)
	return faults.Err()
}

// readClients returns no authorities where no client certificate is asked for.
func (e *endpoint) readClients() (*clientCAs, error) {
	switch {
	case e.opts.ClientAuth == Off:
		return &clientCAs{}, nil
	case e.opts.ClientCA == "":
		return nil, fault.List{{Key: "client_ca", Problem: "is needed to judge certificates of clients: a PEM bundle of authorities"}}
	}
	return readClientCAs(e.opts.ClientCA)
}

// TLSConfig implements Source.
func (e *endpoint) TLSConfig() *tls.Config {
	c := e.opts.Profile.config()
	c.SessionTicketsDisabled = !e.opts.SessionTickets
	c.ClientAuth = e.opts.ClientAuth.tls()
	c.ClientCAs = e.clients.Load().pool
	c.GetCertificate = e.certificate
	c.GetConfigForClient = e.follow(c)
	return c
}

// certificate has the signature of tls.Config.GetCertificate.
func (e *endpoint) certificate(chi *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return e.table.Load().pick(chi)
}

// follow returns a GetConfigForClient that records what the client offers and
// keeps to c, until the authorities of clients are others than they were when
// c was made.
func (e *endpoint) follow(c *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	var later atomic.Pointer[tls.Config]
	return func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		hello.Record(chi)
		pool := e.clients.Load().pool
		if pool == c.ClientCAs {
			return nil, nil
		}
		l := later.Load()
		if l == nil || l.ClientCAs != pool {
			l = c.Clone()
			l.ClientCAs = pool
			later.Store(l)
		}
		return l, nil
	}
}

// Certificates returns what is served now, the default first.
func (e *endpoint) Certificates() []Certificate { return e.table.Load().describe() }

// clientCAs are the authorities whose client certificates are believed. The
// zero value believes nobody.
type clientCAs struct {
	pool *x509.CertPool
	data string // the file that pool was read from
}

func readClientCAs(file string) (*clientCAs, error) {
	data, err := readFile(file)
	if err != nil {
		return nil, err
	}
	certs, err := parseCertificates(file, data)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	return &clientCAs{pool: pool, data: string(data)}, nil
}
