package main

import (
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/troupe-raft/troupe/cmd/troupe/internal/client"
	"github.com/troupe-raft/troupe/cmd/troupe/internal/output"
)

func newTxn() *cobra.Command {
	var interactive bool
	cmd := &cobra.Command{
		Use:   "txn",
		Short: "Make several reads and writes in one transaction",
		Long: `Read a transaction from standard input and execute it atomically. The input is that of etcdctl: comparisons, an empty
line, the requests if all comparisons are true, an empty line, the requests otherwise.

A comparison is version, create, mod or value of a key, then =, !=, < or >, then a value, all but the operator in
quotes. A request is put, get or del with its arguments and flags. A key or value with spaces needs quotes.`,
		Example: `  printf 'mod("greeting") > "0"\n\nput greeting hello\n\nput greeting "good morning"\nget greeting\n' | troupe txn
  troupe txn -i`,
		Args: noArgs,
	}
	flags := addClientFlags(cmd)
	cmd.Flags().BoolVarP(&interactive, "interactive", "i", false, "say what to enter")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		prompts := io.Discard
		if interactive {
			prompts = cmd.ErrOrStderr()
		}
		txn, err := readTransaction(cmd.InOrStdin(), prompts)
		if err != nil {
			return err
		}
		return flags.run(cmd, func(ctx context.Context, cluster *client.Cluster) error {
			var response *pb.TxnResponse
			err := cluster.Write(ctx, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
				response, err = pb.NewKVClient(conn).Txn(ctx, txn.request)
				return err
			})
			if err != nil {
				return fmt.Errorf("txn: %w", err)
			}
			return flags.print(cmd, txn.result(response))
		})
	}
	return cmd
}

// result returns the responses to the requests of the branch that was executed.
func (t transaction) result(response *pb.TxnResponse) output.Result {
	outcome, ranges := "FAILURE", t.failureRanges
	if response.Succeeded {
		outcome, ranges = "SUCCESS", t.successRanges
	}
	r := output.Result{Value: response, Header: append([]string{"OUTCOME", "REQUEST"}, keyHeader...)}
	for _, op := range response.Responses {
		for _, row := range operationRows(op) {
			r.Rows = append(r.Rows, append([]string{outcome}, row...))
		}
	}
	if len(response.Responses) == 0 {
		r.Rows = [][]string{{outcome, "-"}}
	}
	r.Simple = func(w io.Writer) error {
		fmt.Fprintln(w, outcome)
		for i, op := range response.Responses {
			fmt.Fprintln(w)
			switch {
			case op.GetResponsePut() != nil:
				printPut(w, op.GetResponsePut())
			case op.GetResponseDeleteRange() != nil:
				printDelete(w, op.GetResponseDeleteRange())
			case op.GetResponseRange() != nil:
				printRange(w, ranges[i], op.GetResponseRange())
			}
		}
		return nil
	}
	return r
}

// operationRows returns a row for each key of a response, or one for a response without keys.
func operationRows(op *pb.ResponseOp) [][]string {
	request, rows := "", [][]string(nil)
	switch {
	case op.GetResponsePut() != nil:
		request = "put"
		if previous := op.GetResponsePut().PrevKv; previous != nil {
			rows = [][]string{keyRow(previous)}
		}
	case op.GetResponseDeleteRange() != nil:
		request = fmt.Sprintf("del %d", op.GetResponseDeleteRange().Deleted)
		rows = keyRows(op.GetResponseDeleteRange().PrevKvs)
	case op.GetResponseRange() != nil:
		request = fmt.Sprintf("get %d", op.GetResponseRange().Count)
		rows = keyRows(op.GetResponseRange().Kvs)
	}
	if len(rows) == 0 {
		return [][]string{{request}}
	}
	for i := range rows {
		rows[i] = append([]string{request}, rows[i]...)
	}
	return rows
}
