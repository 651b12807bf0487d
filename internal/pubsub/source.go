package pubsub

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"midge/internal/packet"
)

// maxPayload is what fits in a packet with the shortest topic, in bytes.
const maxPayload = packet.MaxSize - 8

var errTooLarge = fmt.Errorf("a message has at most %d bytes", maxPayload)

var errEmpty = errors.New("read message: standard input is empty; -n publishes an empty message")

// readWhole reads one message.
func readWhole(r io.Reader) ([]byte, error) {
	payload, err := io.ReadAll(io.LimitReader(r, maxPayload+1))
	if err == nil && len(payload) > maxPayload {
		err = errTooLarge
	}
	if err != nil {
		return nil, fmt.Errorf("read message: %w", err)
	}
	return payload, nil
}

// feed sends the payloads to the channel until there are no more, or the
// context ends. Reading a terminal or a pipe can't be interrupted: feed then
// ends with the process.
func (p *Publication) feed(ctx context.Context, payloads chan<- []byte) error {
	give := func(payload []byte) error {
		select {
		case payloads <- payload:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if p.Lines != nil {
		return feedLines(p.Lines, give)
	}
	for i := range p.Repeat {
		if i > 0 && p.RepeatDelay > 0 {
			select {
			case <-time.After(p.RepeatDelay):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := give(p.Payload); err != nil {
			return err
		}
	}
	return nil
}

// feedLines gives each line without its end. What follows the last end is a
// line, if it is not empty.
func feedLines(r io.Reader, give func([]byte) error) error {
	in := bufio.NewReaderSize(r, 64<<10)
	for number := 1; ; number++ {
		line, err := readLine(in)
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read line %d: %w", number, err)
		}
		if err != nil && len(line) == 0 {
			return nil
		}
		if failed := give(bytes.TrimSuffix(line, []byte("\n"))); failed != nil || err != nil {
			return failed
		}
	}
}

// readLine reads a line with its end, which only the last one may lack.
func readLine(in *bufio.Reader) (line []byte, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > maxPayload+1:
			return nil, errTooLarge
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, err
		}
	}
}
