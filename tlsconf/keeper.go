package tlsconf

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/sirupsen/logrus"
)

// Modes of what is kept: anybody may read certificates, nobody else keys.
const (
	modeDir  fs.FileMode = 0o755
	modeCert fs.FileMode = 0o644
	modeKey  fs.FileMode = 0o600
)

// keeper keeps certificates and keys in dir: NAME.pem and NAME-key.pem. With
// no dir it keeps nothing.
type keeper struct {
	dir string
	log *logrus.Logger
}

func (k keeper) pair(name string) Pair {
	return Pair{Cert: filepath.Join(k.dir, name+".pem"), Key: filepath.Join(k.dir, name+"-key.pem")}
}

// authority returns nil if there is none. One that cannot be used is an error:
// clients trust it, and must not be made to trust another without need.
func (k keeper) authority() (*tls.Certificate, error) {
	p := k.pair("ca")
	if k.dir == "" || missing(p.Cert) {
		return nil, nil
	}
	ca, err := pairOf(p)
	if err != nil {
		list := faultsOf(err)
		list[0].Problem += "; put the file back, or remove " + p.Cert + " to have a new authority, which clients then have to trust"
		return nil, list
	}
	if !ca.Leaf.IsCA {
		return nil, faulty(p.Cert, "must be the certificate of an authority (CA:TRUE)")
	}
	return ca, nil
}

// leaf returns nil if there is none that can be used: another is made then.
func (k keeper) leaf(name string) *tls.Certificate {
	p := k.pair(name)
	if k.dir == "" || missing(p.Cert) {
		return nil
	}
	cert, err := pairOf(p)
	if err != nil {
		k.log.WithError(err).Warn("a kept certificate cannot be used; another is made")
		return nil
	}
	return cert
}

func missing(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// save writes the key first: an authority without a certificate is one that
// nobody trusts yet.
func (k keeper) save(name string, c *tls.Certificate) error {
	if k.dir == "" {
		return nil
	}
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(k.dir, modeDir); err != nil {
		return err
	}
	p := k.pair(name)
	if err := replace(p.Key, encodePEM(typeKey, der), modeKey); err != nil {
		return err
	}
	return replace(p.Cert, encodePEM(typeCertificate, c.Certificate...), modeCert)
}

// replace writes a file so that who reads it sees the old or the new one whole.
// Its mode holds from the start: nobody can open a key meanwhile.
func replace(file string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*") // mode 0600
	if err != nil {
		return err
	}
	err = errors.Join(write(f, data, mode), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}

func write(f *os.File, data []byte, mode fs.FileMode) error {
	if _, err := f.Write(data); err != nil {
		return err
	}
	if err := f.Chmod(mode); err != nil {
		return err
	}
	return f.Sync()
}
