package tlsconf

import (
	"io"
	"log"

	"github.com/sirupsen/logrus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapTo lets a library that logs with zap be heard at level trace. What people
// have to know is said elsewhere, in words that lead to the cure.
func zapTo(to *logrus.Logger) *zap.Logger { return zap.New(zapCore{to: to}) }

type zapCore struct {
	to     *logrus.Logger
	fields []zapcore.Field
}

// Enabled implements zapcore.Core.
func (c zapCore) Enabled(zapcore.Level) bool { return c.to.IsLevelEnabled(logrus.TraceLevel) }

// With implements zapcore.Core.
func (c zapCore) With(fields []zapcore.Field) zapcore.Core {
	return zapCore{to: c.to, fields: append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

// Check implements zapcore.Core.
func (c zapCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return to.AddCore(e, c)
	}
	return to
}

// Write implements zapcore.Core.
func (c zapCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	c.to.WithFields(enc.Fields).WithField("from", "acme "+e.LoggerName).WithField("as", e.Level.String()).Trace(e.Message)
	return nil
}

// Sync implements zapcore.Core.
func (zapCore) Sync() error { return nil }

// silent is for libraries that log what nobody has to know.
func silent() *log.Logger { return log.New(io.Discard, "", 0) }
