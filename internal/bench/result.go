package bench

import (
	"time"
)

// Result is what a run measured. Its JSON form is what `midge bench -o json`
// prints and reports are made from.
type Result struct {
	Scenario    Scenario    `json:"scenario"`
	Broker      string      `json:"broker"`  // Target.Name
	Address     string      `json:"address"` // Target.Address
	MQTT        string      `json:"mqtt"`    // version: 3.1.1 or 5.0
	Transport   string      `json:"transport"`
	Started     time.Time   `json:"started"`
	Seconds     float64     `json:"seconds"`                             // measured, without warm-up and draining
	Interrupted float64     `json:"interrupted_after_seconds,omitempty"` // when the run was ended before its time, counted from its start; 0 if it wasn't
	Command     string      `json:"command,omitempty"`
	Environment Environment `json:"environment"`

	Connects    Connects `json:"connects"`
	Published   Count    `json:"published"`              // while measuring
	Received    Count    `json:"received"`               // while measuring
	Latency     *Latency `json:"latency,omitempty"`      // from the time a message was due to its receipt
	LastReceipt *Latency `json:"last_receipt,omitempty"` // per message, at the last of its subscribers; only with a number of messages
	AckLatency  *Latency `json:"ack_latency,omitempty"`  // from the time a message was written to PUBACK or PUBCOMP
	Lag         *Latency `json:"lag,omitempty"`          // how late the bench itself wrote; only with a rate

	Faulty Faulty `json:"faulty"`

	Churned   *Churned   `json:"churned,omitempty"`
	SlowReads *SlowReads `json:"slow_readers,omitempty"`
	Resumed   *Resumed   `json:"resumed,omitempty"`
	Retained  *Retained  `json:"retained,omitempty"`
	Restarted *Restarted `json:"restarted,omitempty"`

	BrokerUse *Usage `json:"broker_use,omitempty"` // with Target.PID
	BenchUse  Usage  `json:"bench_use"`            // of all workers

	Faults []string `json:"faults,omitempty"` // what to shout, in words
	Notes  []string `json:"notes,omitempty"`  // what the reader of the figures should know
}

// Failed reports whether the broker did something wrong. The program then ends
// with status 1.
func (r *Result) Failed() bool { return len(r.Faults) > 0 }

// Environment is where a run took place.
type Environment struct {
	OS     string `json:"os"`
	Arch   string `json:"arch"`
	Kernel string `json:"kernel,omitempty"`
	CPU    string `json:"cpu,omitempty"`
	Cores  int    `json:"cores"`
	Go     string `json:"go"`
	Build  string `json:"build,omitempty"` // of the bench
	Procs  int    `json:"procs"`           // worker processes
	Engine string `json:"engine"`          // of the workers: epoll or goroutines
}

// Connects is how the clients were connected before the measuring began.
type Connects struct {
	Clients   int      `json:"clients"`
	Seconds   float64  `json:"seconds"`
	PerSecond float64  `json:"per_second"`
	Time      *Latency `json:"time,omitempty"` // from the start of a connection (or when it was due, with a connect rate) to CONNACK
}

// Count is a number of messages and its rate while measuring.
type Count struct {
	Messages  uint64  `json:"messages"`
	PerSecond float64 `json:"per_second"` // of those published for clients that are away: until the last one was
	Bytes     uint64  `json:"bytes"`      // of payload
}

// Faulty counts what the broker did wrong over the whole run, warm-up and
// draining included.
type Faulty struct {
	Lost           uint64 `json:"lost"`           // sent, and not received by a subscriber that it was due to
	Duplicates     uint64 `json:"duplicates"`     // received more than once, without a reconnection that explains it
	OutOfOrder     uint64 `json:"out_of_order"`   // later than a message that was sent after it
	Misrouted      uint64 `json:"misrouted"`      // on the wrong topic, or to a subscriber that hadn't asked for it
	Corrupt        uint64 `json:"corrupt"`        // payload or QoS is not what was sent
	Unacknowledged uint64 `json:"unacknowledged"` // publications without their last acknowledgement
	Protocol       uint64 `json:"protocol"`       // packets that the standard doesn't allow
	Disconnected   uint64 `json:"disconnected"`   // connections that the broker ended
	Refused        uint64 `json:"refused"`        // publications refused with a reason code
}

// Sum is the number of faults.
func (f Faulty) Sum() uint64 {
	return f.Lost + f.Duplicates + f.OutOfOrder + f.Misrouted + f.Corrupt + f.Unacknowledged + f.Protocol +
		f.Disconnected + f.Refused
}

// Churned is what the clients did that come and go.
type Churned struct {
	Connections   uint64   `json:"connections"`
	PerSecond     float64  `json:"per_second"`
	Time          *Latency `json:"time,omitempty"` // from when a connection was due to its CONNACK
	WillsDue      uint64   `json:"wills_due"`
	WillsReceived uint64   `json:"wills_received"`
}

// SlowReads is what became of the subscribers that read slowly. Their losses
// are no faults, since a broker has to bound its queues.
type SlowReads struct {
	Readers      int    `json:"readers"`
	Received     uint64 `json:"received"`
	Lost         uint64 `json:"lost"`
	Disconnected uint64 `json:"disconnected"`
}

// Resumed is how persistent sessions got the messages that had waited for
// them.
type Resumed struct {
	Sessions  int     `json:"sessions"`
	Messages  uint64  `json:"messages"`
	Seconds   float64 `json:"seconds"` // from the first reconnection to the last message
	PerSecond float64 `json:"per_second"`
	// Of the broker, as far as it can be measured: CPU time per message, and
	// by how much its memory grew meanwhile, at most.
	MicrosPerMsg float64 `json:"cpu_us_per_message,omitempty"`
	RSSGrowth    int64   `json:"rss_bytes_growth,omitempty"`
}

// Retained is how retained messages were laid down and read. Latency of the
// result is then that of messages which nobody read retained ones beside.
type Retained struct {
	Messages     int      `json:"messages"` // laid down
	LaySeconds   float64  `json:"lay_seconds"`
	LayPerSecond float64  `json:"lay_per_second"`
	RSSPerMsg    float64  `json:"rss_bytes_per_message,omitempty"` // of the broker
	Read         uint64   `json:"read"`                            // by all readers, while measuring
	PerSecond    float64  `json:"per_second"`                      // of all readers, while they read
	First        *Latency `json:"first,omitempty"`                 // from SUBSCRIBE to the first message
	Whole        *Latency `json:"whole,omitempty"`                 // and to the last
	Meanwhile    *Latency `json:"meanwhile,omitempty"`             // latency of the others while somebody reads
}

// Restarted is how the broker was ended and started again while messages waited.
type Restarted struct {
	How          Restart `json:"how"`
	StopSeconds  float64 `json:"stop_seconds"`                    // until it had ended
	StartSeconds float64 `json:"start_seconds"`                   // from the start to the first CONNACK
	RSS          int64   `json:"rss_bytes,omitempty"`             // when it had settled
	RSSPerClient float64 `json:"rss_bytes_per_session,omitempty"` // above that of the empty broker, with all that waits for it
}

// Latency summarizes durations, in nanoseconds.
type Latency struct {
	Count uint64 `json:"count"`
	Min   int64  `json:"min_ns"`
	Mean  int64  `json:"mean_ns"`
	P50   int64  `json:"p50_ns"`
	P90   int64  `json:"p90_ns"`
	P99   int64  `json:"p99_ns"`
	P999  int64  `json:"p999_ns"`
	Max   int64  `json:"max_ns"`
	// Histogram is the whole distribution in HdrHistogram's own encoding (V2,
	// compressed, base64), values in nanoseconds, which its tools for many
	// languages read.
	Histogram string `json:"histogram,omitempty"`
}

// Usage is what processes used while measuring. Memory and threads are as at
// the end of measuring; of a broker whose clients are away it ends when the
// last message was taken and the time to settle is over.
type Usage struct {
	CPUSeconds    float64 `json:"cpu_seconds"`
	CPUPercent    float64 `json:"cpu_percent"` // of one core
	MicrosPerMsg  float64 `json:"cpu_us_per_message"`
	RSS           int64   `json:"rss_bytes"`
	EmptyRSS      int64   `json:"rss_bytes_before,omitempty"`         // before the first client connected
	RSSPerConn    float64 `json:"rss_bytes_per_connection,omitempty"` // by how much what is no file grew, when all were connected and had settled
	Threads       int     `json:"threads"`
	WrittenBytes  int64   `json:"written_bytes,omitempty"` // to files
	WrittenPerMsg float64 `json:"written_bytes_per_message,omitempty"`
	RSSPerMsg     float64 `json:"rss_bytes_per_message,omitempty"` // of those that wait for clients that are away
	ConnectMicros float64 `json:"cpu_us_per_connect,omitempty"`    // CPU time of connecting, per client
}
