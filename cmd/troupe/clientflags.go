package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/exit"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
	"github.com/troupe-raft/troupe/internal/certs"
)

const defaultEndpoint = "127.0.0.1:2379"

// clientFlags are the flags of all client commands.
type clientFlags struct {
	endpoints string
	timeout   time.Duration
	output    output.Format
	tls       certs.Client
}

func addClientFlags(cmd *cobra.Command) *clientFlags {
	f := &clientFlags{}
	fs := cmd.Flags()
	fs.StringVar(&f.endpoints, "endpoints", "", "members' addresses for clients, `host:port,…`; when one fails the next is tried (TROUPE_ENDPOINTS; default "+defaultEndpoint+")")
	fs.DurationVar(&f.timeout, "timeout", 5*time.Second, "time limit of the command")
	addOutputFlag(cmd, &f.output)
	fs.StringVar(&f.tls.CAFile, "cacert", "", "`file` with the CA of the servers' certificates (TROUPE_CACERT)")
	fs.StringVar(&f.tls.CertFile, "cert", "", "`file` with this client's certificate (TROUPE_CERT)")
	fs.StringVar(&f.tls.KeyFile, "key", "", "`file` with the certificate's private key (TROUPE_KEY)")
	fs.BoolVar(&f.tls.SkipVerify, "insecure-skip-tls-verify", false, "accept any certificate of a server")
	return f
}

// setDefaultTimeout replaces the default of --timeout.
func (f *clientFlags) setDefaultTimeout(cmd *cobra.Command, d time.Duration) {
	f.timeout = d
	cmd.Flags().Lookup("timeout").DefValue = d.String()
}

// addOutputFlag adds --output. --write-out is its name in etcdctl.
func addOutputFlag(cmd *cobra.Command, format *output.Format) {
	*format = output.Simple
	cmd.Flags().VarP(format, "output", "o", "format of the result")
	cmd.Flags().VarP(format, "write-out", "w", "format of the result")
	_ = cmd.Flags().MarkHidden("write-out")
}

// print writes a result in the format of --output.
func (f *clientFlags) print(cmd *cobra.Command, r output.Result) error {
	return output.Print(cmd.OutOrStdout(), f.output, r)
}

// newCluster returns the client that the flags and their environment variables describe.
func (f *clientFlags) newCluster(cmd *cobra.Command) (*client.Cluster, error) {
	for _, v := range []struct {
		value *string
		name  string
	}{
		{&f.endpoints, "TROUPE_ENDPOINTS"}, {&f.tls.CAFile, "TROUPE_CACERT"},
		{&f.tls.CertFile, "TROUPE_CERT"}, {&f.tls.KeyFile, "TROUPE_KEY"},
	} {
		if *v.value == "" {
			*v.value = os.Getenv(v.name)
		}
	}
	if f.endpoints == "" {
		f.endpoints = defaultEndpoint
	}
	if f.timeout <= 0 {
		return nil, usageError("--timeout: %v is not above 0; give for instance 5s", f.timeout)
	}
	secure := f.tls != certs.Client{}
	endpoints, err := client.ParseEndpoints(f.endpoints, secure)
	if err != nil {
		return nil, exit.With(exit.Usage, err)
	}
	config, err := f.tls.Config()
	if err != nil {
		return nil, exit.With(exit.Certificate, err)
	}
	return client.New(endpoints, config), nil
}

// run calls use with a client and a context that ends with the timeout or with Ctrl-C.
func (f *clientFlags) run(cmd *cobra.Command, use func(context.Context, *client.Cluster) error) error {
	cluster, err := f.newCluster(cmd)
	if err != nil {
		return err
	}
	defer cluster.Close()
	ctx, cancel := context.WithTimeout(signalContext(cmd), f.timeout)
	defer cancel()
	return use(ctx, cluster)
}

// signalContext returns a context that ends with SIGINT, SIGTERM, or the command's context.
func signalContext(cmd *cobra.Command) context.Context {
	parent := cmd.Context()
	if parent == nil {
		parent = context.Background()
	}
	ctx, _ := signal.NotifyContext(parent, os.Interrupt, syscall.SIGTERM)
	return ctx
}

// usageError returns an error with the exit code Usage.
func usageError(text string, values ...any) error {
	return exit.With(exit.Usage, fmt.Errorf(text, values...))
}

// ignoreCanceled returns nil for the error of an interrupted command.
func ignoreCanceled(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}
