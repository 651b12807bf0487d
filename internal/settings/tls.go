package settings

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// TLS is what listeners with TLS go by.
type TLS struct {
	Certificate        []string
	Key                []string
	UnknownName        string
	CA                 []string
	ClientCertificates string
	CRL                []string
	MinVersion         string
	Ciphers            []string
	ALPN               []string
	OCSPStaple         string
	ReadableKeys       bool
	RecordLayer        string
	ACME               ACME
}

// What TLS.ClientCertificates, TLS.UnknownName and TLS.RecordLayer may be.
const (
	NoClientCertificates = "none"
	Optional             = "optional"
	Require              = "require"

	FirstCertificate = "first"
	RefuseName       = "refuse"

	StandardRecords = "standard"
	CompactRecords  = "compact"
)

// WebSocket is what listeners with WebSocket go by.
type WebSocket struct {
	Origins        []string
	TrustedProxies []string
}

func tlsSection() Section {
	none := []string{}
	return Section{Name: "tls", Doc: "What listeners whose address begins with `tls://` or `wss://` go by. [TLS](../tls.md) shows how to set it up. The files are read again when they change, and connections stay.", Settings: []Setting{
		{
			Key: "tls.certificate", At: func(c *Settings) any { return &c.TLS.Certificate },
			Default: none, PerListener: true, Zero: "none: such a listener can't start",
			Doc:    "PEM files with the server's certificate, each followed by the certificates of the authorities between it and the root. Of several, the one that has the name that the client asks for is shown.",
			Reason: "A certificate that the broker makes up would teach clients to trust anything.",
			Change: forConnections,
		}, {
			Key: "tls.key", At: func(c *Settings) any { return &c.TLS.Key },
			Default: none, PerListener: true, Zero: "the keys are in the files of `tls.certificate`",
			Doc:    "PEM files with the private keys, in the order of `tls.certificate`. Nobody but the owner and the group may read them.",
			Reason: "Certificates and keys come as pairs of files.",
			Change: forConnections,
		}, {
			Key: "tls.unknown_name", At: func(c *Settings) any { return &c.TLS.UnknownName },
			Default: FirstCertificate, Words: []string{FirstCertificate, RefuseName}, PerListener: true,
			Doc:    "What a client gets that asks for a name (SNI) which no certificate has: the `first` one, or the end of the handshake (`refuse`).",
			Reason: "Many devices ask for an IP address or a name of their own, and don't look at the answer's.",
			Change: forConnections,
		}, {
			Key: "tls.ca", At: func(c *Settings) any { return &c.TLS.CA },
			Default: none, PerListener: true, Zero: "nobody is trusted",
			Doc:    "PEM files with the authorities that client certificates must come from.",
			Reason: "The system's authorities sign certificates for anybody.",
			Change: forConnections,
		}, {
			Key: "tls.client_certificates", At: func(c *Settings) any { return &c.TLS.ClientCertificates },
			Default: NoClientCertificates, Words: []string{NoClientCertificates, Optional, Require}, PerListener: true,
			Doc:    "Whether clients are asked for a certificate: `none`, `optional` (one that is shown must be good), or `require`.",
			Reason: "Most clients have none.",
			Change: forConnections,
		}, {
			Key: "tls.crl", At: func(c *Settings) any { return &c.TLS.CRL },
			Default: none, PerListener: true, Zero: "no certificate is revoked",
			Doc:    "Files, PEM or DER, with lists of revoked certificates, signed by authorities of `tls.ca`. A list that is out of date is gone by all the same, with a warning.",
			Reason: "A list must be fetched by somebody who knows from where.",
			Change: forConnections,
		}, {
			Key: "tls.min_version", At: func(c *Settings) any { return &c.TLS.MinVersion },
			Default: "1.2", Words: []string{"1.2", "1.3"}, PerListener: true,
			Doc:    "The lowest version of TLS.",
			Reason: "1.0 and 1.1 are broken (RFC 8996); many devices have no 1.3.",
			Change: forConnections,
		}, {
			Key: "tls.ciphers", At: func(c *Settings) any { return &c.TLS.Ciphers },
			Default: none, PerListener: true, Zero: "those that the Go library holds to be secure", Check: checkCipher,
			Doc:    "The cipher suites of TLS 1.2 that may be used, by the names of the standard, such as `TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256`. Their order, and the suites of TLS 1.3, are not to be chosen.",
			Reason: "The library knows which are fast on this processor.",
			Change: forConnections,
		}, {
			Key: "tls.alpn", At: func(c *Settings) any { return &c.TLS.ALPN },
			Default: none, PerListener: true, Zero: "`mqtt`, and `http/1.1` for `wss`",
			Doc:    "The protocols that are agreed to by ALPN. A client that offers others only is refused; one that offers none is not.",
			Reason: "These are the names that the protocols are registered by.",
			Change: forConnections,
		}, {
			Key: "tls.ocsp_staple", At: func(c *Settings) any { return &c.TLS.OCSPStaple },
			Default: "", PerListener: true, Zero: "none",
			Doc:    "A file with an OCSP response (DER) for the first certificate, which clients are shown.",
			Reason: "Few clients ask for one.",
			Change: forConnections,
		}, {
			Key: "tls.readable_keys", At: func(c *Settings) any { return &c.TLS.ReadableKeys },
			Default: false, PerListener: true,
			Doc:    "Takes private keys that everybody on the machine may read.",
			Reason: "Who reads the key can pose as the broker.",
			Change: forConnections,
		}, {
			Key: "tls.record_layer", At: func(c *Settings) any { return &c.TLS.RecordLayer },
			Default: CompactRecords, Words: []string{StandardRecords, CompactRecords}, PerListener: true,
			Doc:    "What encrypts a connection after its handshake: `compact` is the broker's own code for records of TLS 1.3, and keeps 1 kB of a connection; `standard` is the Go library's, which keeps 6 kB, and 23 once a client has sent 16 kB at once. TLS 1.2, and FIPS 140 mode, have `standard` in any case. Both leave the handshake and the ciphers to the Go library. See [TLS](../tls.md#memory-of-a-connection).",
			Reason: "It is as fast, and most connections do nothing most of the time. Tests hold it against the Go library's, OpenSSL's and GnuTLS's.",
			Change: forConnections,
		},
	}}
}

func webSocketSection() Section {
	none := []string{}
	return Section{Name: "websocket", Doc: "What listeners whose address begins with `ws://` or `wss://` go by. The address may have a path (`ws://127.0.0.1:9001/mqtt`), which requests must have then. See [WebSocket](../websocket.md).", Settings: []Setting{
		{
			Key: "websocket.origins", At: func(c *Settings) any { return &c.WebSocket.Origins },
			Default: none, PerListener: true, Zero: "any",
			Doc:    "The origins of pages that may connect, such as `https://example.org`. Programs that are no browsers send none, and may.",
			Reason: "MQTT clients send their password in CONNECT and not by a cookie, so that other people's pages gain nothing.",
			Change: forConnections,
		}, {
			Key: "websocket.trusted_proxies", At: func(c *Settings) any { return &c.WebSocket.TrustedProxies },
			Default: none, PerListener: true, Zero: "none", Check: checkPrefix,
			Doc:    "The addresses of proxies, such as `10.0.0.0/8` or `::1`, whose `X-Forwarded-For` says where a client is.",
			Reason: "Anybody can send that header.",
			Change: forConnections,
		},
	}}
}

// Proxies are the addresses that TrustedProxies names.
func (w *WebSocket) Proxies() []netip.Prefix { return prefixes(w.TrustedProxies) }

// Cipher returns the cipher suite of a name, 0 if there is none that can be chosen.
func Cipher(name string) uint16 {
	suites := tls.CipherSuites()
	i := slices.IndexFunc(suites, func(s *tls.CipherSuite) bool {
		return s.Name == name && slices.Contains(s.SupportedVersions, tls.VersionTLS12)
	})
	if i < 0 {
		return 0
	}
	return suites[i].ID
}

func checkCipher(name string) error {
	if Cipher(name) != 0 {
		return nil
	}
	var names []string
	for _, s := range tls.CipherSuites() {
		if Cipher(s.Name) != 0 {
			names = append(names, s.Name)
		}
	}
	return fmt.Errorf("%q is no secure cipher suite of TLS 1.2; there are %s", name, strings.Join(names, ", "))
}
