package clients

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/client"
	"midge/internal/packet"
	"midge/internal/pubsub"
)

// pubFlags are the flags of pub besides those of connecting.
type pubFlags struct {
	*connectFlags
	topic, message, file        string
	qos                         uint8
	retain, lines, whole, empty bool
	repeat                      int
	repeatDelay                 float64
	maxInflight                 int
	json, debug, quiet          bool
}

func pubCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pub {-t TOPIC | -L URL} {-m MESSAGE | -f FILE | -l | -s | -n} [flags]",
		Short: "Publish messages",
		Long: `Publishes a message, or each line of standard input as a message, and ends when the broker has acknowledged all
of them. The flags are those of mosquitto_pub.

The exit status is 0 if all messages went out and, with QoS 1 and 2, the broker accepted them, and 1 if not: the
connection failed or was lost (pub never connects twice), or the broker refused a message.`,
		Example: `  midge pub -t home/lamp -m on
  midge pub -h broker.example -p 8883 --cafile ca.pem -u me --pw-file secret -t home/lamp -m on -q 1 -r
  midge pub -t camera/1 -f picture.jpg -q 1 -D publish content-type image/jpeg
  tail -f /var/log/syslog | midge pub -t log -l
  midge pub -t tick -m now --repeat 10 --repeat-delay 0.5
  midge pub -L mqtts://me:secret@broker.example/home/lamp -n -r`,
		Args: command.MaxArgs(0),
	}
	f := cmd.Flags()
	p := &pubFlags{connectFlags: addConnectFlags(f)}
	f.StringVarP(&p.topic, "topic", "t", "", "publish to this `topic`")
	f.StringVarP(&p.message, "message", "m", "", "the `payload`")
	f.StringVarP(&p.file, "file", "f", "", "the content of `file` is the payload")
	f.BoolVarP(&p.lines, "stdin-line", "l", false, "each line of standard input is a message")
	f.BoolVarP(&p.whole, "stdin-file", "s", false, "all of standard input is the message; it must not be empty")
	f.BoolVarP(&p.empty, "null-message", "n", false, "the payload is empty; with -r this removes a retained message")
	f.Uint8VarP(&p.qos, "qos", "q", 0, "quality of service `level`: 0, 1 or 2")
	f.BoolVarP(&p.retain, "retain", "r", false, "the broker keeps the message for later subscribers")
	f.IntVar(&p.repeat, "repeat", 1, "publish the message this `number` of times")
	f.Float64Var(&p.repeatDelay, "repeat-delay", 0, "`seconds` from one to the next")
	f.IntVarP(&p.maxInflight, "max-inflight", "M", 1000, "at most this `number` of messages wait for acknowledgements; the broker's Receive Maximum may be less")
	f.BoolVar(&p.json, "json", false, "print a line of JSON for each message that was answered")
	f.BoolVarP(&p.debug, "debug", "d", false, "print each step to standard error")
	f.BoolVar(&p.quiet, "quiet", false, "print no errors and no progress")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		job, err := p.publication(w)
		if err != nil {
			return err
		}
		return command.Work(func(cmd *cobra.Command, _ []string) error { return silent(p.quiet, p.publish(cmd, w, job)) })(cmd, nil)
	}
	return cmd
}

// publication is what the flags ask for. Its errors are misuse.
func (p *pubFlags) publication(w command.World) (*pubsub.Publication, error) {
	job := &pubsub.Publication{
		Message: client.Message{QoS: packet.QoS(p.qos), Retain: p.retain}, Payload: []byte(p.message), Timeout: p.timeout,
		Repeat: p.repeat, RepeatDelay: time.Duration(p.repeatDelay * float64(time.Second)), MaxInflight: p.maxInflight,
		Talk: talk(w, p.quiet, p.debug),
	}
	switch payload, err := command.OneOf(p.flags, "message", "file", "stdin-line", "stdin-file", "null-message"); {
	case err != nil:
		return nil, err
	case payload == "":
		return nil, errors.New("say what to publish: -m TEXT, -f FILE, -l, -s or -n")
	}
	var err error
	job.Connect, job.Message.Topic, err = p.options(map[string]stage{
		"publish":    {message: &job.Message, user: &job.Message.UserProperties},
		"disconnect": {disconnect: &job.Disconnect, user: &job.Disconnect.UserProperties},
	})
	if err != nil {
		return nil, err
	}
	if p.topic != "" {
		job.Message.Topic = p.topic
	}
	switch {
	case job.Message.Topic == "" && job.Message.TopicAlias == 0:
		return nil, errors.New("name the topic with -t")
	case p.qos > 2:
		return nil, fmt.Errorf("-q %d: it is 0, 1 or 2", p.qos)
	case p.repeat < 1:
		return nil, fmt.Errorf("--repeat %d: it is 1 or more", p.repeat)
	case p.repeatDelay < 0:
		return nil, fmt.Errorf("--repeat-delay %g: it is 0 or more", p.repeatDelay)
	case p.maxInflight < 1 || p.maxInflight > 65535:
		return nil, fmt.Errorf("-M %d: it is 1 to 65535", p.maxInflight)
	case p.lines && p.repeat > 1:
		return nil, errors.New("--repeat goes with one message, not with -l")
	}
	if err := validName(job.Message.Topic); job.Message.Topic != "" && err != nil {
		return nil, fmt.Errorf("-t %s: %w", job.Message.Topic, err)
	}
	return job, nil
}

// publish opens what the payload comes from, and publishes.
func (p *pubFlags) publish(cmd *cobra.Command, w command.World, job *pubsub.Publication) error {
	switch {
	case p.lines:
		job.Lines = w.Stdin
	case p.whole, p.file == "-":
		job.Whole, job.NotEmpty = w.Stdin, p.whole
	case p.file != "":
		file, err := os.Open(p.file)
		if err != nil {
			return fmt.Errorf("read message: %w", err)
		}
		defer file.Close()
		job.Whole = file
	}
	if p.json {
		job.JSON = w.Stdout
	}
	return pubsub.Publish(cmd.Context(), job)
}

// talk is how a command speaks about what it does.
func talk(w command.World, quiet, debug bool) *pubsub.Talk {
	return &pubsub.Talk{Out: w.Stderr, Quiet: quiet, Debug: debug, Rewrite: command.IsTerminal(w.Stderr) && !debug}
}

// silent takes the words out of an error.
func silent(quiet bool, err error) error {
	if err != nil && quiet {
		return command.ErrSilent
	}
	return err
}
