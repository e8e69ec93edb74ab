package tlsconf

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"sync"
	"sync/atomic"

	"rtmps-edge/internal/fault"
	"rtmps-edge/internal/filewatch"
	"rtmps-edge/internal/hello"
)

// endpoint is what all sources share: a table of certificates and the
// authorities of clients, both swapped while handshakes go on.
type endpoint struct {
	opts    Options
	table   atomic.Pointer[table]
	clients atomic.Pointer[clientCAs]
	// challenge is for certificate authorities that look for an answer; nil
	// where there are none. It is set before the first TLSConfig.
	challenge *tls.Config

	clientsMu   sync.Mutex // held while the authorities of clients are read
	toldClients string     // what was last logged as wrong with them
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
// c was made. Only who asks for the answer to a challenge gets another config:
// no other client hears of any application protocol.
func (e *endpoint) follow(c *tls.Config) func(*tls.ClientHelloInfo) (*tls.Config, error) {
	var later atomic.Pointer[tls.Config]
	return func(chi *tls.ClientHelloInfo) (*tls.Config, error) {
		hello.Record(chi)
		if e.challenge != nil && validates(chi) {
			return e.challenge, nil
		}
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

// watchClients reads the authorities of clients again when their file changes,
// until ctx is done.
func (e *endpoint) watchClients(ctx context.Context) {
	if e.opts.ClientAuth == Off {
		return
	}
	filewatch.Run(ctx, filewatch.Config{
		Files: func() []string { return []string{e.opts.ClientCA} },
		Look:  e.lookAtClients,
		Warn:  e.warnLate,
	})
}

func (e *endpoint) warnLate(err error) {
	e.opts.Log.WithError(err).Warn("changes of certificate files are noticed late: the system tells of none")
}

func (e *endpoint) lookAtClients() {
	e.clientsMu.Lock()
	defer e.clientsMu.Unlock()
	clients, err := e.readClients()
	e.toldClients = e.tell(e.toldClients, err)
	if err != nil || clients.data == e.clients.Load().data {
		return
	}
	e.clients.Store(clients)
	e.opts.Log.WithField("client_ca", e.opts.ClientCA).Info("the authorities of clients were read again")
}

// tell logs what is wrong with a file, unless that was told already. It returns
// what is told now.
func (e *endpoint) tell(told string, err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if text != told {
		e.opts.Log.WithError(err).Warn("a file has changed and cannot be used; what was read before stays in use")
	}
	return text
}

// clientCAs are the authorities whose client certificates are believed. The
// zero value believes nobody.
type clientCAs struct {
	pool *x509.CertPool
	data string // the file that pool was read from
}

// CheckClientCA reads a bundle of authorities as sources do. The error is a
// fault.List.
func CheckClientCA(file string) error { _, err := readClientCAs(file); return err }

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
