package probe

import "strings"

// Problem names what is wrong, for machines. The words do not change.
type Problem string

// Problems, in the order of the steps.
const (
	NoSuchHost        Problem = "no-such-host"
	NoDNS             Problem = "no-dns"
	NothingListens    Problem = "nothing-listens"
	NoAnswer          Problem = "no-answer"
	Unreachable       Problem = "unreachable"
	PlainRTMP         Problem = "plain-rtmp"
	PlainTLS          Problem = "tls-on-this-port"
	WebServer         Problem = "web-server"
	NotRTMP           Problem = "not-rtmp"
	Silent            Problem = "silent"
	HungUp            Problem = "hung-up"
	NoSharedTLS       Problem = "no-shared-tls"
	NoCertificate     Problem = "no-certificate"
	WantsCertificate  Problem = "wants-client-certificate"
	WeakTLS           Problem = "weak-tls"
	NotYetValid       Problem = "not-yet-valid"
	Expired           Problem = "expired"
	WrongName         Problem = "wrong-name"
	IncompleteChain   Problem = "incomplete-chain"
	UnknownIssuer     Problem = "unknown-issuer"
	UnknownAuthority  Problem = "unknown-authority"
	NotForServers     Problem = "not-for-servers"
	BadCertificate    Problem = "bad-certificate"
	EndsSoon          Problem = "ends-soon"
	ChainOrder        Problem = "chain-order"
	ByAddress         Problem = "by-address"
	Readable          Problem = "readable"
	Slow              Problem = "slow"
	ClosedAtConnect   Problem = "closed-at-connect"
	UnknownApp        Problem = "unknown-app"
	WantsLogin        Problem = "wants-login"
	WrongLogin        Problem = "wrong-login"
	WrongKey          Problem = "wrong-key"
	InUse             Problem = "in-use"
	OverLimit         Problem = "over-limit"
	OriginDown        Problem = "origin-down"
	Refused           Problem = "refused"
	ClosedAtPublish   Problem = "closed-at-publish"
	AcceptedThenEnded Problem = "accepted-then-ended"
)

// cures say what to do. {host}, {port} and {plain} are filled in.
var cures = map[Problem]string{
	NoSuchHost:        "Is the name spelt right? A name that is new takes a while to be known everywhere.",
	NoDNS:             "The name servers of this machine do not answer: is it on the network? See /etc/resolv.conf.",
	NothingListens:    "Is the server running, and is {port} its port? The edge's log line \"listening\" has the address; 127.0.0.1 in it is reached from its own machine only.",
	NoAnswer:          "Look at the firewalls on both sides: port {port} must be open for TCP. Port 443 is open most often.",
	Unreachable:       "This machine has no route there: is it on the network, and has it addresses of that kind (IPv4 or IPv6)?",
	PlainRTMP:         "Use the port of the RTMPS listener. {plain} works on this one, and lets everybody on the way read the stream key.",
	PlainTLS:          "Begin the URL with rtmps:// instead of rtmp://.",
	WebServer:         "Use the port of the RTMP server. HTTP and RTMP do not share a port.",
	NotRTMP:           "Something else than an RTMP server answers on port {port}: use the port of the RTMP server.",
	Silent:            "Is port {port} really that of the RTMP server? Behind a load balancer: is the server behind it running, and does one of the two wait for a PROXY header?",
	HungUp:            "The server does not want this client (a ban, a limit of connections, deny_from), or waits for a PROXY header, or is something else: its log says which.",
	NoSharedTLS:       "The server and this program share no version or suite of TLS: see profile in [tls] of the edge.",
	NoCertificate:     "The server has no certificate for {host} (yet): its log says why.",
	WantsCertificate:  "The server wants a client certificate that it trusts: --client-cert and --client-key.",
	WeakTLS:           "Renew the server's TLS library or its settings; of the edge, profile = \"encoder\" in [tls].",
	NotYetValid:       "Compare the clocks of both machines.",
	Expired:           "Renew it. If it renews itself, the server's log says why that failed.",
	WrongName:         "Use a name that is in the certificate as the server, or get a certificate for {host}.",
	IncompleteChain:   "Let the server send the whole chain (fullchain.pem).",
	UnknownIssuer:     "If that is an intermediate authority, the chain is incomplete: let the server send all of it (fullchain.pem). If it is a private authority, every encoder has to trust it; here: --ca FILE.",
	UnknownAuthority:  "Every encoder that verifies has to trust it; here: --ca FILE. Or get a certificate from a public authority.",
	NotForServers:     "Get a certificate whose extended key usage has serverAuth.",
	BadCertificate:    "Run rtmps-edge check where the edge runs: it says more about its certificates.",
	EndsSoon:          "Renew it. If it should renew itself, the server's log says why it does not.",
	ChainOrder:        "Put the certificate first, then who signed it, then who signed that: some encoders give up on others.",
	ByAddress:         "Use the host name in encoders.",
	Readable:          "Use rtmps://.",
	Slow:              "Is the server overloaded, or what it asks (webhook, origin) slow? Its log says more.",
	ClosedAtConnect:   "nginx-rtmp does that when it has no such application: look at the part between host and key. Others do it to clients that they do not want.",
	UnknownApp:        "Look at the part between host and key: no key and no route is for this application.",
	WantsLogin:        "The server wants a user and a password (in OBS: Use authentication): rtmps://USER:PASSWORD@{host}/APP/KEY. Of the ways to log in, this program knows authmod=adobe.",
	WrongLogin:        "There is no such user, or the password is another: rtmps-edge user list shows the users.",
	WrongKey:          "Is the key whole, and for this application? It may have expired, be disabled, or be bound to other networks: the edge's log line \"refused\" says which, rtmps-edge key list shows the keys.",
	InUse:             "Another encoder publishes with this key: stop it. One that was cut off is freed within seconds.",
	OverLimit:         "A limit of the server was reached: its log line \"refused\" says which; they are in [limits].",
	OriginDown:        "The edge is well, and what it needs behind it is not: run rtmps-edge check there.",
	Refused:           "The server's log says why.",
	ClosedAtPublish:   "nginx-rtmp and SRS do that when on_publish refuses the key. Their log, and that of the backend, says why.",
	AcceptedThenEnded: "nginx-rtmp does that where \"deny publish\" holds for this address; others when their backend says no later. OBS would reconnect for ever.",
}

func (p Problem) cure(t Target) string {
	return strings.NewReplacer("{host}", t.Host, "{port}", t.Port, "{plain}", "rtmp://"+t.hostPort()+"/…").Replace(cures[p])
}
