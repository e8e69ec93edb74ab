// Package e2e holds the tests that run the built program between real
// encoders, players and origins: ffmpeg, OBS, GStreamer and librtmp on one
// side, nginx-rtmp and lal on the other.
//
// They need the Debian packages that deps.sh installs. What is missing fails a
// test and is named; nothing is skipped. OBS trusts only what lies in the
// machine's trust store: trust_test.go says what is done about that. The OBS
// that speaks TLS 1.3 is of Debian 13, which trixie.sh installs into a directory:
// its tests have the build tag trixie, and make test-trixie runs them.
//
// Every port is free when it is taken, every wait is bounded and says what it
// waits for, and every program dies with the test that started it.
package e2e
