package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"midge/internal/auth/passwordfile"
	"midge/internal/cli/command"
)

// passwdFlags are those of midge passwd, as mosquitto_passwd has them.
type passwdFlags struct {
	create, batch, remove, upgrade bool
	hash                           string
}

func passwdCommand(w command.World) *cobra.Command {
	var f passwdFlags
	cmd := &cobra.Command{
		Use:   "passwd FILE [USER [PASSWORD]]",
		Short: "Set, add and delete users in a password file",
		Long: `Sets the password of USER in FILE, and adds USER if it is not there. The password comes from the terminal, where it has
to be typed twice, or is the first line of standard input. FILE is what auth.password_file names; it is replaced as a
whole, so that a broker which reads it meanwhile gets the old or the new one. A new file is readable by its owner only.

A broker that runs reads the file again on SIGHUP. The flags are those of mosquitto_passwd; lines of all hashes that
it, or htpasswd -B, has written may stay in the file.`,
		Example: `  midge passwd -c /etc/midge/passwords alice
  midge passwd /etc/midge/passwords bob < bobs-password
  midge passwd -b /etc/midge/passwords sensor-17 "$(openssl rand -hex 16)"
  midge passwd -H scram-sha-256 /etc/midge/passwords carol
  midge passwd -D /etc/midge/passwords bob
  midge passwd -U passwords-in-plain-text`,
	}
	flags := cmd.Flags()
	flags.BoolVarP(&f.create, "create", "c", false, "begin a new file; one that exists is replaced")
	flags.BoolVarP(&f.batch, "batch", "b", false, "take the password from the command line, where other users of the machine can see it")
	flags.BoolVarP(&f.remove, "delete", "D", false, "delete USER")
	flags.BoolVarP(&f.upgrade, "upgrade", "U", false, "hash all passwords of FILE that stand there as plain text")
	flags.StringVarP(&f.hash, "hash", "H", string(passwordfile.Kinds[0]), "how to hash: `kind` argon2id, bcrypt, scram-sha-256, with which clients need not send it, or sha512-pbkdf2, which Mosquitto reads, too")
	cmd.Args = func(_ *cobra.Command, args []string) error { return f.check(args) }
	cmd.RunE = command.Work(func(cmd *cobra.Command, args []string) error { return f.run(w, cmd.OutOrStdout(), args) })
	return cmd
}

// check reports what is wrong with flags and arguments.
func (f *passwdFlags) check(args []string) error {
	want := "FILE USER"
	switch {
	case f.upgrade:
		want = "FILE"
	case f.batch:
		want = "FILE USER PASSWORD"
	}
	modes := 0
	for _, set := range []bool{f.upgrade, f.batch, f.remove} {
		if set {
			modes++
		}
	}
	switch {
	case modes > 1:
		return errors.New("only one of -b, -D and -U goes at a time")
	case f.create && (f.remove || f.upgrade):
		return errors.New("-c begins an empty file, in which there is nothing for -D or -U")
	case len(args) != len(strings.Fields(want)):
		return fmt.Errorf("this takes %s", want)
	case !slices.Contains(passwordfile.Kinds, passwordfile.Kind(f.hash)):
		return fmt.Errorf("--hash %s: it can be argon2id, bcrypt, scram-sha-256 or sha512-pbkdf2", f.hash)
	}
	return nil
}

func (f *passwdFlags) run(w command.World, out io.Writer, args []string) error {
	e, err := passwordfile.Edit(args[0], f.create)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w; -c makes a new file", err)
	}
	if err != nil {
		return err
	}
	done := ""
	switch {
	case f.upgrade:
		n, err := e.HashAll(passwordfile.Kind(f.hash))
		if err != nil {
			return err
		}
		done = fmt.Sprintf("%d passwords hashed", n)
	case f.remove:
		if err := e.Delete(args[1]); err != nil {
			return err
		}
		done = fmt.Sprintf("user %q deleted", args[1])
	default:
		if done, err = f.set(w, e, args); err != nil {
			return err
		}
	}
	if err := e.Save(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "%s: %s\n", args[0], done)
	return err
}

// set sets the password of a user.
func (f *passwdFlags) set(w command.World, e *passwordfile.Editor, args []string) (done string, err error) {
	if err := passwordfile.CheckName(args[1]); err != nil {
		return "", err
	}
	var password []byte
	if f.batch {
		password = []byte(args[2])
	} else if password, err = readPassword(w, args[1]); err != nil {
		return "", err
	}
	if len(password) == 0 {
		return "", errors.New("the password is empty")
	}
	h, err := passwordfile.Kind(f.hash).Hash(password)
	if err != nil {
		return "", err
	}
	added, err := e.Set(args[1], h)
	if added {
		return fmt.Sprintf("user %q added", args[1]), err
	}
	return fmt.Sprintf("password of %q changed", args[1]), err
}

// maxPassword is how long a password in MQTT may be, in bytes.
const maxPassword = 65_535

// readPassword reads a password: from a terminal twice, without showing it.
func readPassword(w command.World, user string) ([]byte, error) {
	in, ok := w.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		line, err := bufio.NewReader(io.LimitReader(w.Stdin, maxPassword+2)).ReadBytes('\n')
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, fmt.Errorf("read the password from standard input: %w", err)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > maxPassword {
			return nil, fmt.Errorf("the password is longer than %d bytes, so that no client can send it", maxPassword)
		}
		return line, nil
	}
	ask := func(what string) ([]byte, error) {
		fmt.Fprintf(w.Stderr, "%s for %s: ", what, user)
		password, err := term.ReadPassword(int(in.Fd()))
		fmt.Fprintln(w.Stderr)
		return password, err
	}
	first, err := ask("Password")
	if err != nil {
		return nil, err
	}
	second, err := ask("The same again")
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(first, second) {
		return nil, errors.New("the passwords are not the same; nothing was changed")
	}
	return first, nil
}
