// The second real origin of the tests: built by them, no part of the program.
module lal

go 1.26.0

require github.com/q191201771/lal v0.37.4

require github.com/q191201771/naza v0.30.48 // indirect

tool github.com/q191201771/lal/app/lalserver
