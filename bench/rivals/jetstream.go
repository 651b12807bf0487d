//go:build linux

package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"midge/internal/proc"
)

// setUpLimit bounds the time that making streams and consumers may take.
const setUpLimit = time.Minute

// pair is a publisher and its subscriber, with a connection each.
type pair struct {
	subject  string
	js       jetstream.JetStream // the publisher's
	received chan struct{}       // a token for each message that came
}

// jetStream does in NATS's own protocol what midge bench does in MQTT: publishers that keep a window in flight, each with a
// durable consumer that acknowledges each message. A message is in flight until the stream has acknowledged it and the
// consumer has it.
func jetStream(o options) (map[string]float64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), setUpLimit)
	defer cancel()
	var total atomic.Int64
	var faults atomic.Pointer[error]
	pairs := make([]*pair, o.clients)
	for i := range pairs {
		var err error
		if pairs[i], err = connectPair(ctx, o, i, &total); err != nil {
			return nil, fmt.Errorf("connect pair %d: %w", i, err)
		}
	}
	payload := make([]byte, o.size)
	for _, p := range pairs {
		for range o.window {
			go func() {
				if err := p.publish(payload); err != nil {
					faults.Store(&err)
				}
			}()
		}
	}
	time.Sleep(warmUp)
	before, start := total.Load(), time.Now()
	cpu, err := proc.CPU(o.pid)
	if err != nil {
		return nil, err
	}
	time.Sleep(o.measure)
	used, err := proc.CPU(o.pid)
	if err != nil {
		return nil, err
	}
	if err := faults.Load(); err != nil {
		return nil, *err
	}
	n := float64(total.Load() - before)
	if n == 0 {
		return nil, fmt.Errorf("no message came in %v", o.measure)
	}
	return map[string]float64{
		"msgs/s":        n / time.Since(start).Seconds(),
		"broker µs/msg": float64((used - cpu).Microseconds()) / n,
	}, nil
}

func connectPair(ctx context.Context, o options, i int, total *atomic.Int64) (*pair, error) {
	p := &pair{subject: fmt.Sprintf("bench.%d", i), received: make(chan struct{}, o.window)}
	sub, err := connect(o.native)
	if err != nil {
		return nil, err
	}
	if p.js, err = connect(o.native); err != nil {
		return nil, err
	}
	if i == 0 {
		// One stream for all, deleting what has been acknowledged, as a broker's queues do.
		if _, err := sub.CreateStream(ctx, jetstream.StreamConfig{Name: "bench", Subjects: []string{"bench.*"}, Retention: jetstream.InterestPolicy}); err != nil {
			return nil, fmt.Errorf("create stream: %w", err)
		}
	}
	consumer, err := sub.CreateConsumer(ctx, "bench", jetstream.ConsumerConfig{Durable: fmt.Sprintf("c%d", i), FilterSubject: p.subject, AckPolicy: jetstream.AckExplicitPolicy})
	if err != nil {
		return nil, fmt.Errorf("create consumer: %w", err)
	}
	_, err = consumer.Consume(func(m jetstream.Msg) {
		if m.Ack() == nil {
			total.Add(1)
			p.received <- struct{}{}
		}
	})
	if err != nil {
		return nil, fmt.Errorf("consume: %w", err)
	}
	return p, nil
}

func connect(address string) (jetstream.JetStream, error) {
	nc, err := nats.Connect("nats://" + address)
	if err != nil {
		return nil, fmt.Errorf("connect: %w", err)
	}
	return jetstream.New(nc)
}

// publish has one message in flight at a time. It ends with the process, or with a fault.
func (p *pair) publish(payload []byte) error {
	for {
		f, err := p.js.PublishAsync(p.subject, payload)
		if err != nil {
			return fmt.Errorf("publish: %w", err)
		}
		select {
		case <-f.Ok():
			<-p.received
		case err := <-f.Err():
			return fmt.Errorf("publish: %w", err)
		}
	}
}
