package shell

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/topic"
)

func pubCommand() command {
	return command{
		name: "pub", args: "TOPIC PACKET", min: 2, max: 2,
		short: "Publish a packet",
		long: `PACKET is text, @file, - for the lines that follow up to a line with a dot alone (a line that begins with a dot gets
another in front), or the name of a packet that 'packet save' saved. In quotes it is always text. The options change
those of a saved packet. The command ends when the broker has acknowledged the message.`,
		options: append(messageOptions(),
			option{
				name: "topic-alias", value: "N", help: "send this topic alias with the topic (5.0)",
				set: func(r *request, v string) error { return toNumber(&r.message.TopicAlias, v, 1, math.MaxUint16) },
			},
			clientOption(), answerTimeout()),
		examples: []string{
			"pub sensors/kitchen 21.5",
			"pub sensors/kitchen '{\"temperature\": 21.5}' --qos 1 --retain --content-type application/json",
			"pub firmware/7 @firmware.bin --qos 2",
			"pub sensors/kitchen reading --client sensor-1",
			"pub sensors/kitchen '' --retain",
		},
		complete: func(s *Shell, before []string, prefix string) []string {
			if len(before) == 0 {
				return s.topics.all()
			}
			return s.completePacket(prefix)
		},
		run: publish,
	}
}

func publish(ctx context.Context, s *Shell, in *input) error {
	m, what, err := s.packet(in.words[1])
	if err != nil {
		return fmt.Errorf("pub: %w", err)
	}
	r := s.request()
	if err := in.fillDefaults(r, s.defaults); err != nil {
		return err
	}
	if s.isSaved(in.words[1]) { // as it was saved, whatever the defaults are now
		r.message = m
	}
	r.message.Payload = m.Payload
	if err := in.fillGiven(r); err != nil {
		return err
	}
	r.message.Topic = in.text(0)
	if err := topic.ValidName([]byte(r.message.Topic), topic.Limits{}); err != nil {
		return fmt.Errorf("pub %s: %w", quote(r.message.Topic), err)
	}
	one, err := s.clients.find(r.client)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	answer, err := one.conn.Publish(ctx, r.message)
	if err != nil {
		return s.explain(ctx, err, r.timeout)
	}
	one.published++
	s.topics.add(r.message.Topic)
	note := ""
	if answer.Reason != packet.Success {
		note = " (" + answer.Reason.String() + ")"
	}
	s.printf("%s: published to %s: %s, %s%s\n", printable(one.name), printable(r.message.Topic), what, strings.Join(traits(&r.message), ", "), note)
	return nil
}

// packet is what a word stands for, and what to call it.
func (s *Shell) packet(w word) (m client.Message, what string, err error) {
	switch {
	case w.quoted:
		m.Payload = []byte(w.text)
	case s.isSaved(w):
		m = s.saved.packets[w.text]
		m.UserProperties = slices.Clip(m.UserProperties)
		return m, fmt.Sprintf("packet %s (%s)", quote(w.text), bytesOf(len(m.Payload))), nil
	case w.text == "-":
		m.Payload, err = s.readPacket()
	case strings.HasPrefix(w.text, "@"):
		m.Payload, err = readFile(w.text[1:])
	default:
		m.Payload = []byte(w.text)
	}
	return m, bytesOf(len(m.Payload)), err
}

func (s *Shell) isSaved(w word) bool {
	_, found := s.saved.packets[w.text]
	return found && !w.quoted
}

// readFile reads the payload that a file holds, if it can fit into a packet.
func readFile(name string) ([]byte, error) {
	if name == "" {
		return nil, errors.New("read the packet: write the name of a file behind the @, or '@' in quotes for the text")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read the packet: %w", err)
	}
	defer f.Close()
	payload, err := io.ReadAll(io.LimitReader(f, packet.MaxSize+1))
	if err != nil {
		return nil, fmt.Errorf("read the packet: %w", err)
	}
	if len(payload) > packet.MaxSize {
		return nil, fmt.Errorf("read the packet: %s is larger than the %d bytes of an MQTT packet", name, packet.MaxSize)
	}
	return payload, nil
}

// readPacket reads lines up to one that is a dot alone.
func (s *Shell) readPacket() ([]byte, error) {
	var lines [][]byte
	for {
		line, err := s.console.readText("... ")
		if err == io.EOF {
			return nil, fmt.Errorf("read the packet: the input ends before a line with a dot alone")
		}
		if err != nil {
			return nil, fmt.Errorf("read the packet: %w", err)
		}
		if line == "." {
			return bytes.Join(lines, []byte("\n")), nil
		}
		lines = append(lines, []byte(strings.TrimPrefix(line, ".")))
	}
}

func (s *Shell) completePacket(prefix string) []string {
	path, isFile := strings.CutPrefix(prefix, "@")
	if !isFile {
		return s.saved.names()
	}
	all := files(path)
	for i := range all {
		all[i] = "@" + all[i]
	}
	return all
}

func packetCommand() command {
	return command{
		name: "packet", args: "save NAME PACKET | list | show NAME | remove NAME", min: 1, max: 3,
		short: "Save packets under names, for pub",
		long: `A saved packet is a payload with the options that it is published with. What is saved at the prompt is there in the
next shell too; a script begins without saved packets, and leaves none. Expect knows them as well.`,
		options: messageOptions(),
		examples: []string{
			"packet save reading '{\"temperature\": 21.5}' --qos 1 --content-type application/json",
			"pub sensors/kitchen reading",
			"packet list",
			"packet show reading",
			"packet remove reading",
		},
		noDefaults: true,
		complete: func(s *Shell, before []string, prefix string) []string {
			switch {
			case len(before) == 0:
				return []string{"save", "list", "show", "remove"}
			case len(before) == 1 && before[0] != "list":
				return s.saved.names()
			case len(before) == 2 && before[0] == "save":
				return s.completePacket(prefix)
			}
			return nil
		},
		run: packets,
	}
}

func packets(_ context.Context, s *Shell, in *input) error {
	words := map[string]int{"save": 3, "list": 1, "show": 2, "remove": 2}
	what, name := in.text(0), in.text(1)
	switch n, known := words[what]; {
	case !known:
		return usagef("packet %s: it can be save, list, show or remove", quote(what))
	case n != len(in.words):
		return usagef("packet %s: write %s", what, map[string]string{
			"save": "packet save NAME PACKET", "list": "packet list", "show": "packet show NAME", "remove": "packet remove NAME",
		}[what])
	case what != "save" && len(in.given) > 0:
		return usagef("packet %s: options belong to packet save", what)
	}
	m, found := s.saved.packets[name]
	if n := words[what]; n == 2 && !found {
		return fmt.Errorf("packet %s: nothing is saved as %s", what, quote(name))
	}
	switch what {
	case "save":
		return s.savePacket(in, name)
	case "list":
		for _, name := range s.saved.names() {
			m := s.saved.packets[name]
			s.printf("%s: %s, %s\n", printable(name), bytesOf(len(m.Payload)), strings.Join(traits(&m), ", "))
		}
	case "show":
		var b strings.Builder
		fmt.Fprintf(&b, "%s (%s)", printable(name), strings.Join(traits(&m), ", "))
		s.look().writePayload(&b, m.Payload)
		s.print(b.String())
	case "remove":
		if err := s.saved.change(func(all map[string]client.Message) { delete(all, name) }); err != nil {
			return err
		}
		s.printf("packet %s removed\n", printable(name))
	}
	return nil
}

func (s *Shell) savePacket(in *input, name string) error {
	if name == "" || name == "-" || strings.HasPrefix(name, "@") {
		return usagef("packet save: %s can't be the name of a packet: pub would not take it for one", quote(name))
	}
	m, _, err := s.packet(in.words[2])
	if err != nil {
		return fmt.Errorf("packet save: %w", err)
	}
	r := s.request()
	r.message = m
	if err := in.fill(r, nil); err != nil {
		return err
	}
	if err := s.saved.change(func(all map[string]client.Message) { all[name] = r.message }); err != nil {
		return err
	}
	s.printf("packet %s saved: %s, %s\n", printable(name), bytesOf(len(m.Payload)), strings.Join(traits(&r.message), ", "))
	return nil
}
