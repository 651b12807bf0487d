package bench

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"midge/internal/bench/loop"
	"midge/internal/packet"
)

// plan is all that a worker needs to know. It travels to other processes as
// JSON.
type plan struct {
	Scenario  Scenario
	Run       string // distinguishes topics and client identifiers from those of other runs
	Proc      int    // which worker this is, from 0
	Procs     int
	Epoch     time.Time // zero of the clock
	Version   packet.Version
	Username  string
	Password  string
	Peer      netip.AddrPort
	Sources   []netip.Addr
	TLSOn     bool
	TLS       TLS
	Host      string // for TLS
	WebSocket string
	Discard   bool // leave nothing in order at the broker

	network network // not for other processes
}

// network is how tests replace the network.
type network struct {
	loop.Config
	tls *tls.Config
}

// An order tells a worker to go on. Interrupt comes at any time, and once; the
// others when the worker waits for them.
type order struct {
	Start     time.Duration `json:",omitempty"` // on the clock: when publishing begins
	Sent      []uint32      `json:",omitempty"` // by flow: what was sent in all
	Interrupt time.Duration `json:",omitempty"` // on the clock: when the run ends early; 0 means not
}

// allOrders is how many orders a worker gets in a run, at most.
const allOrders = 3

// A report is what a worker tells the coordinator. One of the fields is set.
type report struct {
	Error     string     `json:",omitempty"` // the worker has ended
	Connected *connected `json:",omitempty"`
	Laid      bool       `json:",omitempty"` // all retained messages are laid down
	Progress  *tick      `json:",omitempty"`
	Sent      []uint32   `json:",omitempty"` // by flow: publishing has ended
	Final     *partial   `json:",omitempty"` // the worker has ended
}

// connected is the report that all clients of a worker are connected and subscribed.
type connected struct {
	Clients int
	Engine  string
}

// tick is a worker's part of Progress.
type tick struct {
	Phase       string
	Connections int
	Published   uint64
	Received    uint64
	Faults      uint64
}

// partial is a worker's part of the result.
type partial struct {
	Published    uint64 // while measuring
	Received     uint64
	Late         uint64        // due messages that were never sent
	UnderWay     uint64        // messages that had not arrived when the run was interrupted
	Unanswered   uint64        // publications that were not acknowledged when the run was interrupted
	PublishEnd   time.Duration // on the clock: when the last message was written
	LastReceipt  time.Duration // on the clock
	Lasts        []int64       `json:",omitempty"` // by flow and sequence number: latency at the last subscriber here, ns
	Latency      string        // encoded histograms
	Ack          string
	Lag          string
	Connect      string
	Churn        string
	First        string        // from the request for retained messages to the first one
	Whole        string        // and to the last one
	Meanwhile    string        // Latency while somebody reads retained messages
	LayTime      time.Duration // to lay retained messages down
	ReadTime     time.Duration // in which somebody read them
	Read         uint64        // retained messages that readers got while measuring
	Faulty       Faulty
	Details      []string
	Slow         SlowReads
	Churned      uint64
	WillsDue     uint64
	Wills        uint64
	Resumed      uint64        // messages after the return of offline subscribers
	ResumeTime   time.Duration // from the first reconnection to the last message
	Returned     int           // sessions that were resumed
	SessionsLost uint64        // sessions that were gone when their clients returned
	Left         string        // why something of the run is left at the broker
	Use          Usage
}

// loopConfig is the network configuration of the plan.
func (p *plan) loopConfig() (loop.Config, error) {
	cfg := p.network.Config
	cfg.Address, cfg.Sources, cfg.PortsPerSource, cfg.WebSocket = p.Peer, p.Sources, portsPerSource, p.WebSocket
	if !p.TLSOn {
		return cfg, nil
	}
	cfg.TLS = p.network.tls
	if cfg.TLS != nil {
		return cfg, nil
	}
	var err error
	cfg.TLS, err = p.TLS.config(p.Host)
	return cfg, err
}

func (t TLS) config(host string) (*tls.Config, error) {
	c := &tls.Config{ServerName: host, InsecureSkipVerify: t.Insecure, MinVersion: tls.VersionTLS12}
	if t.ServerName != "" {
		c.ServerName = t.ServerName
	}
	if t.CAFile != "" {
		text, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read CA certificates: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("%s: no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" || t.KeyFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("load client certificate: %w", err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// clone returns the plan of worker proc.
func (p *plan) clone(proc int) *plan {
	c := *p
	c.Proc = proc
	return &c
}

// check proves that a plan which came over a pipe is one.
func (p *plan) check() error {
	if p.Procs < 1 || p.Proc < 0 || p.Proc >= p.Procs || p.Run == "" || !p.Peer.IsValid() {
		return errors.New("bench worker: standard input has no plan; 'midge bench' starts workers itself")
	}
	return p.Scenario.Validate()
}

func decodePlan(d *json.Decoder) (*plan, error) {
	p := new(plan)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("bench worker: read plan: %w", err)
	}
	return p, p.check()
}

// resolve returns the first address of host.
func resolve(host string, port uint16) (netip.AddrPort, error) {
	if ip, err := netip.ParseAddr(host); err == nil {
		return netip.AddrPortFrom(ip, port), nil
	}
	ips, err := net.LookupIP(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	for _, ip := range ips {
		if a, ok := netip.AddrFromSlice(ip.To4()); ok {
			return netip.AddrPortFrom(a, port), nil
		}
	}
	a, _ := netip.AddrFromSlice(ips[0])
	return netip.AddrPortFrom(a, port), nil
}
