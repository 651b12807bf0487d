package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/app"
	"midge/internal/ban"
	"midge/internal/cli/command"
)

func banCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ban",
		Short: "Say who may not connect: addresses, client identifiers and users",
		Long: `Edits the file of bans, of a broker that runs or not. A broker that runs goes by the new text a second later: it refuses
those who are banned, and ends their connections.

The file is the one that --file names, or else the one that 'midge serve' would use with the same --config: bans.file,
which is the file bans in the data directory unless it is set.`,
		Example: "  midge ban add address 203.0.113.0/24 --for 24h --reason \"port scans\"\n  midge ban list\n  midge ban remove address 203.0.113.0/24",
		Args:    cobra.ArbitraryArgs,
		RunE:    command.NeedSubcommand,
	}
	cmd.AddCommand(banAddCommand(w), banRemoveCommand(w), banListCommand(w))
	return cmd
}

// banFile are the flags that say which file is meant.
type banFile struct{ file, config *string }

func banFileFlags(cmd *cobra.Command) banFile {
	return banFile{
		cmd.Flags().String("file", "", "the `file` of bans"),
		cmd.Flags().String("config", "", "read the configuration that names the file from `file`"),
	}
}

// name is the file that is meant.
func (f banFile) name(ctx context.Context, w command.World) (string, error) {
	if *f.file != "" {
		return *f.file, nil
	}
	loaded, err := load(ctx, w, file{name: *f.config}, nil)
	if err != nil {
		return "", err
	}
	name := app.BansFile(&loaded.Settings)
	if name == "" {
		return "", errors.New("there is no file of bans: durability is \"none\", and bans.file is not set")
	}
	return name, nil
}

// bannedArgs takes what is banned.
func bannedArgs(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return errors.New("say what is meant: address, client or user, and which one")
	}
	_, err := ban.New(ban.Kind(args[0]), args[1])
	return err
}

func banAddCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "add KIND VALUE",
		Short: "Ban an address or a network, a client identifier or a user",
		Long: `KIND is address, client or user. VALUE is an address (192.0.2.7, 2001:db8::1) or a network (203.0.113.0/24), a client
identifier, or the name of a user: the one in CONNECT, and the one that a certificate or a token says. An address is refused
when it connects, before TLS; the others get CONNACK 0x8A (3.1.1: return code 5), with the reason in MQTT 5.0.

A ban of the same replaces the one before. Bans that are over are taken out of the file.`,
		Example: "  midge ban add client sensor-7 --reason \"sends nonsense\"\n  midge ban add user mallory --for 72h\n  midge ban add address 2001:db8::/32 --until 2027-01-01T00:00:00Z",
		Args:    bannedArgs,
	}
	from := banFileFlags(cmd)
	lasting := cmd.Flags().Duration("for", 0, "how `long`, such as 90m or 24h; else for good")
	until := cmd.Flags().String("until", "", "until a `time`, such as 2027-01-01T00:00:00Z")
	reason := cmd.Flags().String("reason", "", "`text` for the log, and for the client")
	cmd.RunE = command.Work(func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		b, err := ban.New(ban.Kind(args[0]), args[1])
		if err == nil {
			err = b.SetReason(*reason)
		}
		if err != nil {
			return err
		}
		switch {
		case *lasting != 0 && *until != "":
			return errors.New("--for and --until say the same; give one of them")
		case *lasting < 0:
			return fmt.Errorf("--for %v: that is over", *lasting)
		case *lasting > 0:
			b.Until = now.Add(*lasting).Round(time.Second)
		case *until != "":
			if b.Until, err = time.Parse(time.RFC3339, *until); err != nil {
				return fmt.Errorf("--until %s: write a time such as 2027-01-01T00:00:00Z", *until)
			}
			if b.Over(now) {
				return fmt.Errorf("--until %s: that is over", *until)
			}
		}
		name, err := from.name(cmd.Context(), w)
		if err != nil {
			return err
		}
		if *from.file == "" {
			if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
				return err
			}
		}
		return editBans(cmd.OutOrStdout(), name, "added: "+b.Line(), func(e *ban.Editor) error {
			e.Add(b, now)
			return nil
		})
	})
	return cmd
}

func banRemoveCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove KIND VALUE",
		Short:   "End a ban",
		Long:    "Takes a ban out of the file. KIND and VALUE are those that 'midge ban list' prints.",
		Example: "  midge ban remove client sensor-7",
		Args:    bannedArgs,
	}
	from := banFileFlags(cmd)
	cmd.RunE = command.Work(func(cmd *cobra.Command, args []string) error {
		b, err := ban.New(ban.Kind(args[0]), args[1])
		if err != nil {
			return err
		}
		name, err := from.name(cmd.Context(), w)
		if err != nil {
			return err
		}
		return editBans(cmd.OutOrStdout(), name, "removed: "+b.Line(), func(e *ban.Editor) error { return e.Remove(b) })
	})
	return cmd
}

// editBans changes a file.
func editBans(out io.Writer, name, done string, change func(*ban.Editor) error) error {
	e, err := ban.Edit(name)
	if err == nil {
		err = change(e)
	}
	if err == nil {
		err = e.Save()
	}
	if err == nil {
		_, err = fmt.Fprintf(out, "%s: %s\n", name, done)
	}
	return err
}

func banListCommand(w command.World) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Print the bans that are in force",
		Long:    "Prints the bans as the file has them, without those that are over. Lines that can't be read are reported, and the exit\nstatus is 1 then.",
		Example: "  midge ban list\n  midge ban list --config /etc/midge/midge.toml",
		Args:    command.MaxArgs(0),
	}
	from := banFileFlags(cmd)
	cmd.RunE = command.Work(func(cmd *cobra.Command, _ []string) error {
		name, err := from.name(cmd.Context(), w)
		if err != nil {
			return err
		}
		all, faults, err := ban.Read(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		if err != nil {
			return err
		}
		var text strings.Builder
		for i := range all {
			if !all[i].Over(time.Now()) {
				text.WriteString(all[i].Line() + "\n")
			}
		}
		if _, err := io.WriteString(cmd.OutOrStdout(), text.String()); err != nil {
			return err
		}
		return errors.Join(faults...)
	})
	return cmd
}
