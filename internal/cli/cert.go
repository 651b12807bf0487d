package cli

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"midge/internal/cli/command"
	"midge/internal/devcert"
)

func certCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cert",
		Short:   "Make certificates for trying TLS out",
		Long:    "Makes certificates. See the documentation of TLS for what a broker does with them.",
		Example: "  midge cert dev\n  midge cert dev --dir certs --host broker.lan --host 192.168.1.10",
		Args:    cobra.ArbitraryArgs,
		RunE:    command.NeedSubcommand,
	}
	cmd.AddCommand(certDevCommand())
	return cmd
}

func certDevCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Make an authority, and a server's and a client's certificate",
		Long: fmt.Sprintf(`Makes an authority (ca.pem), and a certificate for a server (server.pem) and one for a client (client.pem) from it, each
with its key (ca-key.pem, server-key.pem, client-key.pem). They are for trying TLS out, and hold for %d days. Files that
are there already stay as they are.`, devcert.Days),
		Example: "  midge cert dev\n  midge cert dev --dir certs --host broker.lan --host 192.168.1.10\n  midge cert dev --user kitchen",
		Args:    command.MaxArgs(0),
	}
	f := cmd.Flags()
	dir := f.String("dir", "certs", "write into `directory`")
	hosts := f.StringArray("host", []string{"localhost", "127.0.0.1", "::1"}, "a `name` or address that clients use for the server; repeatable")
	user := f.String("user", "client", "the common name of the client's certificate is `name`")
	cmd.RunE = command.Work(func(cmd *cobra.Command, _ []string) error {
		files, err := devcert.Make(*dir, *hosts, *user, time.Now())
		for _, name := range files {
			fmt.Fprintln(cmd.OutOrStdout(), name)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "\nTo try them:\n  midge serve --listen tls://127.0.0.1:8883 --set tls.certificate=%s --set tls.key=%s\n  midge sub -h localhost -p 8883 --cafile %s -t '#'\n",
			filepath.Join(*dir, "server.pem"), filepath.Join(*dir, "server-key.pem"), filepath.Join(*dir, "ca.pem"))
		return nil
	})
	return cmd
}
