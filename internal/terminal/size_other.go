//go:build !unix

package terminal

import "os"

func size(*os.File) (columns, rows int) { return 0, 0 }
