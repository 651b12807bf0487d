package conf

import (
	"slices"
	"strings"
)

func listening() map[string]option {
	return map[string]option{
		"listener":                 {read: anything, take: (*converter).begin},
		"port":                     {read: anything, take: (*converter).port},
		"bind_address":             {read: anything, take: (*converter).bindAddress},
		"bind_interface":           blocking(ofListener, anything, "", "a listener can't be bound to an interface; name the address that it has"),
		"http_dir":                 missing(anything, "", "the broker serves no files; a web server does"),
		"max_connections":          {read: anything, take: func(c *converter, l *Line) { c.connections(l, ofListener) }, scope: ofListener},
		"max_qos":                  missing(between(0, 2), "2", "every QoS is there on every listener"),
		"maximum_qos":              missing(between(0, 2), "2", "every QoS is there on every listener"),
		"max_topic_alias":          {read: between(0, 65_535), take: func(c *converter, l *Line) { c.ofListener(l, "limits.topic_aliases", atoi(l.Value)) }, scope: ofListener},
		"max_topic_alias_broker":   missing(between(0, 65_535), "", "limits.topic_aliases is for both directions"),
		"mount_point":              {read: anything, take: (*converter).mountPoint, scope: ofListener},
		"protocol":                 {read: anything, take: (*converter).protocol, scope: ofListener},
		"socket_domain":            {read: anything, take: (*converter).socketDomain, scope: ofListener},
		"use_username_as_clientid": blocking(ofListener, truth, "false", "client ids don't come from user names; with auth.client_id = \"%u\" clients must use theirs"),
		"websockets_origin":        {read: anything, take: (*converter).origin, scope: ofListener},

		// Of 2.1:
		"accept_protocol_versions": blocking(ofListener, anything, "", "a listener takes every version of MQTT"),
		"enable_proxy_protocol":    blocking(ofListener, anything, "0", "whom to believe must be said: set proxy_protocol of the [[listener]] to the addresses of the proxies"),
	}
}

func transport() map[string]option {
	all := map[string]option{
		"tls_engine":            blocking(ofListener, anything, "", "engines of OpenSSL can't be used; the key must be a file"),
		"tls_engine_kpass_sha1": blocking(ofListener, anything, "", "engines of OpenSSL can't be used; the key must be a file"),
		"tls_keyform":           blocking(ofListener, anything, "pem", "engines of OpenSSL can't be used; the key must be a file"),
		"psk_hint":              blocking(ofListener, anything, "", "TLS with pre-shared keys can't be had in Go; give the clients certificates"),
		"dhparamfile":           same(anything, "keys are agreed on with elliptic curves"),
		"ciphers":               missing(anything, "", "Go's choice of ciphers is in force, which has none that is known to be weak"),
		"ciphers_tls1.3":        missing(anything, "", "all ciphers of TLS 1.3 are on; none is known to be weak"),

		"capath":                   blocking(ofListener, anything, "", "authorities are in files (tls.ca), not in a directory; put those of the directory into one file"),
		"require_certificate":      {read: truth, take: (*converter).requireCertificate, scope: ofListener},
		"tls_version":              {read: anything, take: (*converter).tlsVersion, scope: ofListener},
		"use_identity_as_username": {read: truth, take: func(c *converter, l *Line) { c.certificateUser(l, "cn") }, scope: ofListener},
		"use_subject_as_username":  {read: truth, take: func(c *converter, l *Line) { c.certificateUser(l, "subject") }, scope: ofListener},

		// Of 2.1:
		"disable_client_cert_date_checks": blocking(ofListener, truth, "false", "the dates of a certificate count"),
		"proxy_protocol_v2_require_tls":   blocking(ofListener, truth, "false", "whether a client has used TLS in front of a proxy is not looked at"),
	}
	for name, key := range map[string]string{"cafile": "tls.ca", "certfile": "tls.certificate", "keyfile": "tls.key", "crlfile": "tls.crl"} {
		all[name] = option{read: anything, take: func(c *converter, l *Line) { c.tls(l, key, "["+quote(l.Value)+"]") }, scope: ofListener}
	}
	return all
}

// tls sets a setting of TLS.
func (c *converter) tls(l *Line, key, value string) {
	c.current.tls = c.current.tls || key == "tls.certificate"
	c.own(l, key, value)
}

func (c *converter) origin(l *Line) { c.own(l, "websocket.origins", "["+quote(l.Value)+"]") }

// mountPoint takes what Mosquitto writes in front of topics, whatever that is.
func (c *converter) mountPoint(l *Line) {
	text := ""
	switch {
	case strings.ContainsAny(l.Value, "+#"):
		c.find(l, Fault, "a mount point must not have + or # in it")
		return
	case !strings.HasSuffix(l.Value, "/"):
		text = "a mount point has to end with / here; in Mosquitto, clients that subscribe to # get nothing without it"
	case strings.Contains(l.Value, "%"):
		text = "% begins a variable in a mount point here"
	case strings.HasPrefix(l.Value, "$SYS/"), strings.HasPrefix(l.Value, "$share/"):
		text = "a mount point must not begin with $SYS/ or $share/ here"
	default:
		c.own(l, "mount_point", quote(l.Value))
		return
	}
	c.find(l, Blocking, text)
	c.current.access.closed = append(c.current.access.closed, *l)
}

func (c *converter) requireCertificate(l *Line) {
	if !isTrue(l) {
		c.find(l, Same, "clients need none unless tls.client_certificates says so")
		return
	}
	c.tls(l, "tls.client_certificates", quote("require"))
}

// certificateUser has clients named by their certificates.
func (c *converter) certificateUser(l *Line, part string) {
	const key = "auth.certificate_user"
	switch {
	case !isTrue(l):
		c.find(l, Same, "names don't come from certificates unless auth.certificate_user says so")
	case part == "subject" && slices.ContainsFunc(c.current.own, func(e entry) bool { return e.key == key && e.value == quote("cn") }):
		c.find(l, Same, "use_identity_as_username goes before it")
	default:
		c.current.asks = true
		c.own(l, key, quote(part))
	}
}

// tlsVersion sets the lowest version of TLS.
func (c *converter) tlsVersion(l *Line) {
	switch l.Value {
	case "tlsv1.3", "tlsv1.2":
		c.tls(l, "tls.min_version", quote(l.Value[len("tlsv"):]))
	case "tlsv1.1", "tlsv1":
		c.find(l, Missing, "TLS 1.0 and 1.1 are broken; 1.2 is the lowest version")
	default:
		c.find(l, Fault, "the value is tlsv1.3, tlsv1.2 or tlsv1.1")
	}
}

func bridges() map[string]option {
	all := map[string]option{
		"connection": {read: anything, take: func(c *converter, l *Line) {
			c.find(l, Missing, "bridges are not built yet; Mosquitto can be the bridge, as a client of both brokers: leave only this connection in its file, and a second one to this broker")
			c.bridge = len(c.found)
		}},
	}
	inBridge := func(c *converter, l *Line) {
		if c.bridge == 0 {
			c.find(l, Fault, "it belongs to a bridge, and there is no connection above it")
			return
		}
		f := &c.found[c.bridge-1]
		f.With = append(f.With, *l)
	}
	for _, name := range []string{
		"address", "addresses", "bridge_alpn", "bridge_attempt_unsubscribe", "bridge_bind_address", "bridge_cafile", "bridge_capath",
		"bridge_certfile", "bridge_ciphers", "bridge_ciphers_tls1.3", "bridge_clean_start_local", "bridge_identity", "bridge_insecure",
		"bridge_keyfile", "bridge_max_packet_size", "bridge_max_topic_alias", "bridge_outgoing_retain", "bridge_protocol_version",
		"bridge_psk", "bridge_receive_maximum", "bridge_reload_type", "bridge_require_ocsp", "bridge_session_expiry_interval",
		"bridge_tcp_keepalive", "bridge_tcp_user_timeout", "bridge_tls_use_os_certs", "bridge_tls_version", "cleansession", "clientid",
		"idle_timeout", "keepalive_interval", "local_cleansession", "local_clientid", "local_password", "local_username",
		"notification_topic", "notifications", "notifications_local_only", "password", "remote_clientid", "remote_password",
		"remote_username", "restart_timeout", "round_robin", "start_type", "threshold", "topic", "try_private", "username",
	} {
		all[name] = option{read: anything, take: inBridge, scope: ofBridge}
	}
	return all
}
