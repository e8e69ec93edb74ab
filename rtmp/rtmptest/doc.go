// Package rtmptest is for RTMP what net/http/httptest is for HTTP: an origin
// server, a publisher and a player for tests, a builder of raw bytes, and a
// parser that judges what somebody else wrote.
//
// It shares no code with the packages that it tests. A fault in the product's
// reader cannot hide the same fault in its writer here, and what an Origin
// records is what a second reading of the specification makes of the bytes.
//
// Nothing here waits without an end: every wait is bounded by Patience, and
// says what it waited for.
package rtmptest

import "time"

// Patience bounds every wait of this package. It is long because it only runs
// out when a test has failed already.
const Patience = 20 * time.Second

// handshakeSize is the length of C1, C2, S1 and S2.
const handshakeSize = 1536

// HandshakeLen is what each side sends before its first chunk: C0, C1 and C2,
// or S0, S1 and S2.
const HandshakeLen = 1 + 2*handshakeSize
