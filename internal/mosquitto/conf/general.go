package conf

import (
	"math"
	"path"
	"strings"
	"time"
)

func general() map[string]option {
	return map[string]option{
		"allow_duplicate_messages": same(truth, "a client gets one copy of a message, at the highest QoS of those subscriptions of it that match"),
		"max_inflight_bytes":       missing(between(0, math.MaxInt64), "0", "what is in flight to a client is limited in messages (session.inflight)"),
		"max_inflight_messages": {read: between(0, 65_535), take: func(c *converter, l *Line) {
			c.number(l, "session.inflight", orUnlimited(atoi(l.Value)))
		}},
		"max_keepalive": {read: between(10, 65_535), take: func(c *converter, l *Line) {
			c.number(l, "session.keep_alive", times(atoi(l.Value), int64(time.Second)))
			c.set(l, "strict.keep_alive", "true")
		}},
		"max_packet_size":    {read: between(20, math.MaxInt32), take: func(c *converter, l *Line) { c.packetSize = l }},
		"message_size_limit": {read: between(0, 268_435_455), take: func(c *converter, l *Line) { c.messageSize = l }},
		"max_queued_bytes": {read: between(0, math.MaxInt64), take: func(c *converter, l *Line) {
			c.queue(l, "session.queued_bytes", "session.stored_bytes")
		}},
		"max_queued_messages": {read: between(0, math.MaxInt64), take: func(c *converter, l *Line) {
			c.queue(l, "session.queued_messages", "session.stored_messages")
		}},
		"memory_limit": {read: between(0, math.MaxInt64), take: func(c *converter, l *Line) { c.number(l, "limits.memory", atoi(l.Value)) }},
		"persistent_client_expiration": {read: expiry, take: func(c *converter, l *Line) {
			c.number(l, "session.max_expiry", expiryOf(l.first()))
		}},
		"pid_file":            missing(anything, "", "no such file is written; the service manager knows the process (systemctl show -p MainPID), and so does a shell that starts it ($!)"),
		"queue_qos0_messages": missing(truth, "false", "messages of QoS 0 don't wait for clients that are away; publish with QoS 1 what must not get lost"),
		"include_dir":         same(anything, "Mosquitto follows it in the main file only"),
		"retry_interval":      same(anything, "Mosquitto has it no longer; messages are sent again when a client comes back"),
		"retain_available": {read: truth, take: func(c *converter, l *Line) {
			if isTrue(l) {
				c.find(l, Same, "retained messages are on unless limits.retained_messages is 0")
				return
			}
			c.number(l, "limits.retained_messages", 0)
		}},
		"set_tcp_nodelay":         same(truth, "it is always on"),
		"sys_interval":            sets("sys.interval", int64(time.Second), between(0, 65_535)),
		"upgrade_outgoing_qos":    missing(truth, "false", "a message is delivered with the QoS of its publisher at most, as the standard says; publish with the QoS that receivers need"),
		"user":                    missing(anything, "", "the broker stays the user that starts it; start it as this one (User= in a unit of systemd). It needs no root unless a port is below 1024 (AmbientCapabilities=CAP_NET_BIND_SERVICE)"),
		"websockets_headers_size": same(anything, "the headers of a WebSocket request have a limit of their own"),

		// Of 2.1:
		"global_max_clients":     missing(anything, "-1", "sessions are not limited in number"),
		"global_max_connections": {read: anything, take: func(c *converter, l *Line) { c.connections(l, global) }},
		"packet_buffer_size":     same(anything, "buffers follow the load"),
		"retain_expiry_interval": missing(anything, "0", "a retained message ends when its publisher asks for it (Message Expiry Interval)"),
	}
}

// queue sets what waits for one client, in memory and on disk.
func (c *converter) queue(l *Line, keys ...string) {
	for _, k := range keys {
		c.number(l, k, orUnlimited(atoi(l.Value)))
	}
	c.queueFull = append(c.queueFull, *l)
}

// connections sets the most connections at one time, of a listener or of all.
func (c *converter) connections(l *Line, s scope) {
	n := atoi(l.Value)
	switch {
	case n < 0:
		c.find(l, Same, "there is no limit but that of open files")
	case n == 0:
		c.find(l, Missing, "0 is no limit here; leave the listener out if nobody is to connect to it")
	case s == global:
		c.number(l, "limits.connections", n)
	default:
		c.ofListener(l, "limits.connections", n)
	}
}

// largestOverhead is what a PUBLISH may have in front of its payload, but for
// properties: header, the longest topic and the packet identifier, rounded up.
const largestOverhead = 64<<10 + 16

// packets sets the largest packet. Mosquitto's limit is of packets, or of
// payloads, or there is none.
func (c *converter) packets() {
	const key = "limits.packet_size"
	n, note, from := int64(256<<20), "", []Line(nil)
	if l := c.messageSize; l != nil {
		from = append(from, *l)
		if limit := atoi(l.Value); limit > 0 {
			n, note = limit+largestOverhead, "The whole packet counts here, so there is room for the longest topic"
		}
	}
	if l := c.packetSize; l != nil {
		from = append(from, *l)
		n = min(n, atoi(l.Value))
	}
	if from == nil {
		note = "Mosquitto has no limit by default; 1MiB, the default here, is safer"
	}
	c.add(entry{key, c.table.number(key, c.table.limit(key, n)), from, note})
}

// expiryUnits are what the letters behind a time mean.
var expiryUnits = map[byte]time.Duration{
	'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour, 'm': 30 * 24 * time.Hour, 'y': 365 * 24 * time.Hour,
}

// expiry reads a time such as "14d".
func expiry(v string) string {
	v, _, _ = strings.Cut(v, " ")
	if len(v) < 2 || expiryUnits[v[len(v)-1]] == 0 || atoi(v) <= 0 {
		return "the value is a number and h, d, w, m or y, such as 14d"
	}
	return ""
}

func expiryOf(v string) int64 { return times(atoi(v), int64(expiryUnits[v[len(v)-1]])) }

func persistence() map[string]option {
	const always = "what a client is told is safe is on disk by then (durability)"
	return map[string]option{
		"autosave_interval":    same(between(math.MinInt64, math.MaxInt64), always),
		"autosave_on_changes":  same(truth, always),
		"persistence":          {read: truth, take: func(c *converter, l *Line) { c.persistence = l }},
		"persistence_file":     {read: anything, take: func(c *converter, l *Line) { c.file = l }},
		"persistence_location": {read: anything, take: func(c *converter, l *Line) { c.location = l }},
	}
}

// keeping sets where state is kept, if it is.
func (c *converter) keeping() {
	on := c.persistence != nil && isTrue(c.persistence)
	where := "the state that Mosquitto has kept there"
	if c.file != nil {
		c.find(c.file, Same, "a directory keeps the state (data_dir); 'midge store import' brings in what this file has")
	}
	switch {
	case on && c.location != nil:
		c.add(entry{"data_dir", quote(path.Join(c.location.Value, "midge-data")), []Line{*c.location}, "'midge store import' brings in " + where})
	case c.location != nil:
		c.find(c.location, Same, "nothing is kept while persistence is off")
	}
	switch {
	case on:
		c.add(entry{"durability", quote("commit"), []Line{*c.persistence}, ""})
	case c.persistence != nil:
		c.add(entry{"durability", quote("none"), []Line{*c.persistence}, "A restart forgets everything"})
	default:
		c.add(entry{"durability", quote("none"), nil, "Mosquitto keeps nothing over a restart unless persistence is true; without this line everything is kept in data_dir"})
	}
}

// persisted is the file that has the state of Mosquitto, "" for none.
func (c *converter) persisted() string {
	if c.persistence == nil || !isTrue(c.persistence) {
		return ""
	}
	dir, name := "", "mosquitto.db"
	if c.location != nil {
		dir = c.location.Value
	}
	if c.file != nil {
		name = c.file.Value
	}
	return path.Join(dir, name)
}

func logging() map[string]option {
	return map[string]option{
		"connection_messages": {read: truth, take: func(c *converter, l *Line) {
			c.set(l, "log.connections", map[bool]string{true: "true", false: "false"}[isTrue(l)])
		}},
		"log_dest":             {read: logDest, take: (*converter).logDest},
		"log_facility":         missing(between(0, 7), "", "the journal or the service manager takes the log from standard error, with its own facility"),
		"log_timestamp":        missing(truth, "true", "each line of the log has its time; the journal shows its own"),
		"log_timestamp_format": missing(anything, "", "times are written as in RFC 3339"),
		"log_type":             {read: logType, take: func(c *converter, l *Line) { c.logTypes = append(c.logTypes, *l) }},
		"websockets_log_level": same(anything, "the log has the one level"),
	}
}

func logDest(v string) string {
	switch word, rest, _ := strings.Cut(v, " "); word {
	case "stdout", "stderr", "syslog", "topic", "none", "dlt", "android":
		return ""
	case "file":
		if strings.Trim(rest, " ") == "" {
			return "the name of the file is missing"
		}
		return ""
	}
	return "the value is stdout, stderr, syslog, topic, file, dlt or none"
}

func (c *converter) logDest(l *Line) {
	switch word, rest, _ := strings.Cut(l.Value, " "); word {
	case "stderr":
		c.find(l, Same, "the log goes to standard error")
	case "stdout":
		c.find(l, Same, "the log goes to standard error, which a console shows as well")
	case "file":
		c.find(l, Missing, "the log goes to standard error; StandardError=append:"+printable(strings.Trim(rest, " "))+" in a unit of systemd, or 2>> in a shell, writes it there")
	case "syslog", "dlt":
		c.find(l, Missing, "the log goes to standard error; under systemd it is in the journal, and elsewhere 2>&1 | logger -t midge brings it there")
	case "topic":
		c.find(l, Missing, "the log is not published; read standard error or the journal")
	case "none":
		c.find(l, Missing, "errors are always logged; 2>/dev/null throws them away")
	}
}

// logLevels are what the types mean, as far as there is something like them.
var logLevels = map[string]string{
	"error": "error", "warning": "warn", "notice": "info", "information": "info", "debug": "debug", "all": "debug",
	"subscribe": "debug", "unsubscribe": "debug", "websockets": "debug", "internal": "debug", "none": "error",
}

func logType(v string) string {
	word, _, _ := strings.Cut(v, " ")
	if logLevels[word] == "" {
		return "the value is error, warning, notice, information, subscribe, unsubscribe, websockets, debug, all or none"
	}
	return ""
}

// logLevel sets the least important lines to log: those of the least important
// of the types.
func (c *converter) logLevel() {
	for _, level := range []string{"debug", "info", "warn", "error"} {
		for i := range c.logTypes {
			if logLevels[c.logTypes[i].first()] == level {
				c.add(entry{"log.level", quote(level), c.logTypes, ""})
				return
			}
		}
	}
}
