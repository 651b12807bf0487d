package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"time"
)

// Work is what a worker process does: it reads its plan and orders from in, as
// JSON values, and writes reports to out. It returns when the run is over.
func Work(ctx context.Context, in io.Reader, out io.Writer) error {
	d := json.NewDecoder(bufio.NewReader(in))
	p, err := decodePlan(d)
	if err != nil {
		return err
	}
	orders, reports := make(chan order, allOrders), make(chan report, 4)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel() // the coordinator is gone, or wants no more
		defer close(orders)
		for {
			var o order
			if d.Decode(&o) != nil {
				return
			}
			orders <- o
		}
	}()
	w, err := newWorker(p, orders, reports)
	if err != nil {
		return json.NewEncoder(out).Encode(report{Error: err.Error()})
	}
	go func() {
		defer close(reports)
		w.work(ctx)
	}()
	e := json.NewEncoder(out)
	for r := range reports {
		if e.Encode(r) != nil {
			cancel() // the coordinator is gone: nobody is there to hear anything
		}
	}
	return nil
}

// stopLimit is the time that a worker process has to end by itself.
const stopLimit = 5 * time.Second

// remoteMember starts a worker process and talks to it over pipes. The process
// ends when its standard input does.
func remoteMember(ctx context.Context, command []string, p *plan) (*member, error) {
	m := &member{orders: make(chan order, allOrders), reports: make(chan report, 4)}
	cmd := exec.CommandContext(ctx, command[0], command[1:]...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = stopLimit
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker %d: %w", p.Proc, err)
	}
	cmd.Cancel = in.Close
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("start worker %d: %w", p.Proc, err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start worker %d: %w", p.Proc, err)
	}
	e := json.NewEncoder(in)
	written := make(chan struct{})
	go func() {
		defer close(written)
		defer func() { _ = in.Close() }() // closing again after Cancel does no harm
		err := e.Encode(p)
		for o := range m.orders {
			if err == nil {
				err = e.Encode(o) // a worker that is gone is noticed at its reports
			}
		}
	}()
	go func() {
		defer close(m.reports)
		d := json.NewDecoder(bufio.NewReader(out))
		for {
			var r report
			if d.Decode(&r) != nil {
				return
			}
			m.reports <- r
		}
	}()
	m.stop = func() error {
		<-written
		_ = cmd.Wait() // what matters was in its reports
		return nil
	}
	return m, nil
}
