//go:build !unix

package wire

// Elsewhere a waiting connection holds its buffer: correct, only larger.
const (
	canReadRaw  = false
	canWriteRaw = false
)

func readRaw(uintptr, []byte) (int, bool, error)          { panic("wire: not reached") }
func writeRaw(uintptr, [][]byte, bool) (int, bool, error) { panic("wire: not reached") }
