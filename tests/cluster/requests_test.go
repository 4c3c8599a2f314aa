package cluster

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"
)

// readWay is one way to read a key.
type readWay struct {
	name string
	read func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error)
}

// readCalls returns the calls that read a key from the store.
func readCalls(options ...clientv3.OpOption) []readWay {
	fromTxn := func(response *clientv3.TxnResponse, err error) (*clientv3.GetResponse, error) {
		if err != nil {
			return nil, err
		}
		return (*clientv3.GetResponse)(response.Responses[0].GetResponseRange()), nil
	}
	return []readWay{
		{"Get", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error) {
			return client.Get(ctx, key, options...)
		}},
		{"GetStream", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error) {
			stream, err := client.GetStream(ctx, key, options...)
			if err != nil {
				return nil, err
			}
			return clientv3.GetStreamToGetResponse(stream)
		}},
		{"Txn", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error) {
			return fromTxn(client.Txn(ctx).Then(clientv3.OpGet(key, options...)).Commit())
		}},
		{"Txn with Else", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error) {
			return fromTxn(client.Txn(ctx).If(clientv3.Compare(clientv3.Version("none"), "=", 9)).Else(clientv3.OpGet(key, options...)).Commit())
		}},
	}
}

// linearizableReads returns every call in every mode that must not return an old value. etcd
// ignores the mode, so one that overrides the serializable flag is left out for it.
func linearizableReads() (all []readWay) {
	nested := readWay{"nested Txn", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error) {
		response, err := client.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpGet(key, clientv3.WithSerializable())}, nil)).Commit()
		if err != nil {
			return nil, err
		}
		return (*clientv3.GetResponse)(response.Responses[0].GetResponseTxn().Responses[0].GetResponseRange()), nil
	}}
	for _, mode := range []string{"", "log", "index", "lease"} {
		all = append(all, inMode(mode, append(readCalls(), nested))...)
	}
	if program.Name == "troupe" {
		all = append(all, inMode("index", readCalls(clientv3.WithSerializable()))...)
	}
	return all
}

// oldReads returns every call in every mode that may return an old value.
func oldReads() []readWay {
	all := readCalls(clientv3.WithSerializable())
	for _, mode := range []string{"leader", "local"} {
		all = append(all, inMode(mode, readCalls())...)
	}
	return all
}

func inMode(mode string, calls []readWay) (all []readWay) {
	for _, call := range calls {
		all = append(all, readWay{fmt.Sprintf("%s in mode %q", call.name, mode),
			func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.GetResponse, error) {
				if mode != "" {
					ctx = metadata.AppendToOutgoingContext(ctx, "troupe-read", mode)
				}
				return call.read(ctx, client, key)
			}})
	}
	return all
}

// writeWay is one way to write a key. revision is that of the write.
type writeWay struct {
	name  string
	write func(ctx context.Context, client *clientv3.Client, key, value string) (revision int64, err error)
}

// putWays returns the ways to put a key.
func putWays() []writeWay {
	return []writeWay{
		{"Put", func(ctx context.Context, client *clientv3.Client, key, value string) (int64, error) {
			response, err := client.Put(ctx, key, value)
			if err != nil {
				return 0, err
			}
			return response.Header.Revision, nil
		}},
		{"Txn", func(ctx context.Context, client *clientv3.Client, key, value string) (int64, error) {
			response, err := client.Txn(ctx).Then(clientv3.OpPut(key, value)).Commit()
			if err != nil {
				return 0, err
			}
			return response.Header.Revision, nil
		}},
		{"nested Txn", func(ctx context.Context, client *clientv3.Client, key, value string) (int64, error) {
			response, err := client.Txn(ctx).Then(clientv3.OpTxn(nil, []clientv3.Op{clientv3.OpPut(key, value)}, nil)).Commit()
			if err != nil {
				return 0, err
			}
			return response.Header.Revision, nil
		}},
	}
}

// deleteWay is one way to delete a key. The response holds the value before.
type deleteWay struct {
	name   string
	delete func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.DeleteResponse, error)
}

// deleteWays returns the ways to delete a key.
func deleteWays() []deleteWay {
	return []deleteWay{
		{"Delete", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.DeleteResponse, error) {
			return client.Delete(ctx, key, clientv3.WithPrevKV())
		}},
		{"Txn", func(ctx context.Context, client *clientv3.Client, key string) (*clientv3.DeleteResponse, error) {
			response, err := client.Txn(ctx).Then(clientv3.OpDelete(key, clientv3.WithPrevKV())).Commit()
			if err != nil {
				return nil, err
			}
			deleted := (*clientv3.DeleteResponse)(response.Responses[0].GetResponseDeleteRange())
			deleted.Header = response.Header
			return deleted, nil
		}},
	}
}

// otherWrites returns the ways to change the store that are not puts.
func otherWrites() []writeWay {
	return []writeWay{
		{"Delete", func(ctx context.Context, client *clientv3.Client, key, _ string) (int64, error) {
			_, err := client.Delete(ctx, key)
			return 0, err
		}},
		{"Compact", func(ctx context.Context, client *clientv3.Client, _, _ string) (int64, error) {
			_, err := client.Compact(ctx, 1)
			return 0, err
		}},
		{"physical Compact", func(ctx context.Context, client *clientv3.Client, _, _ string) (int64, error) {
			_, err := client.Compact(ctx, 1, clientv3.WithCompactPhysical())
			return 0, err
		}},
	}
}
