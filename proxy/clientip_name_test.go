package proxy

import (
	"net/netip"
	"testing"
)

// No name that a client could have got into its own query passes for the
// address, whatever the server that reads it.
func TestNameAtOrigin(t *testing.T) {
	t.Parallel()
	client := netip.MustParseAddr("192.0.2.7")
	for name, want := range map[string]string{
		"alice":                       "alice?client_ip=192.0.2.7",
		"alice?":                      "alice?client_ip=192.0.2.7",
		"alice?a=1&b":                 "alice?a=1&b&client_ip=192.0.2.7",
		"alice?client_ip=1":           "alice?client_ip=192.0.2.7",
		"alice?a=1&CLIENT_IP=1&b=2":   "alice?a=1&b=2&client_ip=192.0.2.7",
		"alice?a=1;client_ip=1&b=2":   "alice?b=2&client_ip=192.0.2.7",
		"alice?x?client_ip=1":         "alice?client_ip=192.0.2.7",
		"alice?a=1#client_ip=1":       "alice?client_ip=192.0.2.7",
		"alice?client%5Fip=1":         "alice?client_ip=192.0.2.7",
		"alice?a=%5F":                 "alice?a=%5F&client_ip=192.0.2.7",
		"alice?client+ip=1":           "alice?client_ip=192.0.2.7",
		"alice?client.ip=1":           "alice?client_ip=192.0.2.7",
		"alice?client_ip[]=1":         "alice?client_ip=192.0.2.7",
		"alice?client_ip":             "alice?client_ip=192.0.2.7",
		"alice?a=client_ip&client_i=": "alice?a=client_ip&client_i=&client_ip=192.0.2.7",
	} {
		if got := ClientIP("query:client_ip").nameAtOrigin(name, client); got != want {
			t.Errorf("%s becomes %s", name, got)
		}
	}
	for _, test := range []struct {
		way        ClientIP
		client     netip.Addr
		name, want string
	}{
		{"query:ip", netip.Addr{}, "alice?ip=1", "alice"},
		{"query:ip", netip.Addr{}, "alice?a=1", "alice?a=1"},
		{"query:ip", netip.MustParseAddr("fe80::1%eth0"), "alice", "alice?ip=fe80::1"},
		{"query:_", client, "alice?a=1&__=2", "alice?a=1&_=192.0.2.7"},
		{ClientIPOff, client, "alice?ip=1", "alice?ip=1"},
		{ClientIPProxyV1, client, "alice?ip=1", "alice?ip=1"},
	} {
		if got := test.way.nameAtOrigin(test.name, test.client); got != test.want {
			t.Errorf("%s: %s becomes %s", test.way, test.name, got)
		}
	}
}
