package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// transaction is a transaction as it was read, with the flags of each get, by the position of the
// request, for printing its response.
type transaction struct {
	request                      *pb.TxnRequest
	successRanges, failureRanges map[int]rangeFlags
}

// readTransaction reads a transaction in etcdctl's form: three parts, each ended by an empty line
// or by the end of the input. It writes what to enter to prompts.
func readTransaction(in io.Reader, prompts io.Writer) (transaction, error) {
	lines := &lineReader{scanner: bufio.NewScanner(in)}
	lines.scanner.Buffer(nil, maxLineBytes)
	t := transaction{request: &pb.TxnRequest{}}
	fmt.Fprintln(prompts, "comparisons:")
	for line, ok := lines.next(); ok; line, ok = lines.next() {
		compare, err := parseCompare(line)
		if err != nil {
			return t, lines.usageError(err)
		}
		t.request.Compare = append(t.request.Compare, compare)
	}
	for _, branch := range []struct {
		title  string
		ops    *[]*pb.RequestOp
		ranges *map[int]rangeFlags
	}{
		{"requests if all are true (put, get, del):", &t.request.Success, &t.successRanges},
		{"requests otherwise (put, get, del):", &t.request.Failure, &t.failureRanges},
	} {
		fmt.Fprintln(prompts, branch.title)
		*branch.ranges = map[int]rangeFlags{}
		for line, ok := lines.next(); ok; line, ok = lines.next() {
			op, flags, err := parseOperation(line)
			if err != nil {
				return t, lines.usageError(err)
			}
			(*branch.ranges)[len(*branch.ops)] = flags
			*branch.ops = append(*branch.ops, op)
		}
	}
	if err := lines.scanner.Err(); err != nil {
		return t, fmt.Errorf("reading the transaction from standard input: %w", err)
	}
	return t, nil
}

// maxLineBytes is the length of the longest line: a value as large as a server may accept, in
// quotes.
const maxLineBytes = 1 << 30

// lineReader reads the lines of a transaction.
type lineReader struct {
	scanner *bufio.Scanner
	number  int
}

// next returns the next line, or false at an empty one and at the end.
func (l *lineReader) next() (string, bool) {
	if !l.scanner.Scan() {
		return "", false
	}
	l.number++
	line := strings.TrimSpace(l.scanner.Text())
	return line, line != ""
}

func (l *lineReader) usageError(err error) error {
	return usageError("line %d of the transaction: %w", l.number, err)
}

var compareResults = map[string]pb.Compare_CompareResult{
	"=": pb.Compare_EQUAL, "!=": pb.Compare_NOT_EQUAL, "<": pb.Compare_LESS, ">": pb.Compare_GREATER,
}

// parseCompare parses `mod("key") > "0"`.
func parseCompare(line string) (*pb.Compare, error) {
	const form = `write for instance mod("key") > "0"`
	target, rest, found := strings.Cut(line, "(")
	var key, operator, value string
	if n, err := fmt.Sscanf(rest, "%q) %s %q", &key, &operator, &value); !found || n != 3 || err != nil {
		return nil, fmt.Errorf("%q is no comparison; %s", line, form)
	}
	result, known := compareResults[operator]
	if !known {
		return nil, fmt.Errorf("the operator %q is unknown; use =, !=, < or >", operator)
	}
	compare := &pb.Compare{Key: []byte(key), Result: result}
	target = strings.TrimSpace(target)
	if target == "value" || target == "val" {
		compare.Target, compare.TargetUnion = pb.Compare_VALUE, &pb.Compare_Value{Value: []byte(value)}
		return compare, nil
	}
	number, err := strconv.ParseInt(value, 10, 64)
	switch target {
	case "version", "ver":
		compare.Target, compare.TargetUnion = pb.Compare_VERSION, &pb.Compare_Version{Version: number}
	case "create", "c":
		compare.Target, compare.TargetUnion = pb.Compare_CREATE, &pb.Compare_CreateRevision{CreateRevision: number}
	case "mod", "m":
		compare.Target, compare.TargetUnion = pb.Compare_MOD, &pb.Compare_ModRevision{ModRevision: number}
	case "lease":
		return nil, errors.New("leases do not exist in this version; compare version, create, mod or value")
	default:
		return nil, fmt.Errorf("%q cannot be compared; use version, create, mod or value", target)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is compared with a number, and %q is none", target, value)
	}
	return compare, nil
}

// parseOperation parses a request with the arguments and flags of the command of its name.
func parseOperation(line string) (*pb.RequestOp, rangeFlags, error) {
	var flags rangeFlags
	words, err := splitWords(line)
	if err != nil {
		return nil, flags, err
	}
	fs := pflag.NewFlagSet(words[0], pflag.ContinueOnError)
	fs.Usage = func() {}
	var prevKV bool
	low, high := 1, 2
	switch words[0] {
	case "put":
		low = 2
		fs.BoolVar(&prevKV, "prev-kv", false, "")
	case "get":
		flags.register(fs)
	case "del":
		fs.BoolVar(&flags.prefix, "prefix", false, "")
		fs.BoolVar(&flags.fromKey, "from-key", false, "")
		fs.BoolVar(&prevKV, "prev-kv", false, "")
	default:
		return nil, flags, fmt.Errorf("the request %q is unknown; use put, get or del", words[0])
	}
	if err := fs.Parse(words[1:]); err != nil {
		return nil, flags, fmt.Errorf("%s: %w", words[0], err)
	}
	args := fs.Args()
	if len(args) < low || len(args) > high {
		return nil, flags, fmt.Errorf("%s has %d arguments; write put KEY VALUE, get KEY [END] or del KEY [END]", words[0], len(args))
	}
	op, err := makeOperation(words[0], args, &flags, prevKV)
	return op, flags, err
}

func makeOperation(name string, args []string, flags *rangeFlags, prevKV bool) (*pb.RequestOp, error) {
	switch name {
	case "put":
		if args[0] == "" {
			return nil, errors.New("put: KEY is empty; give a key of at least one byte")
		}
		request := &pb.PutRequest{Key: []byte(args[0]), Value: []byte(args[1]), PrevKv: prevKV}
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: request}}, nil
	case "get":
		request, err := flags.request(args)
		return &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: request}}, err
	}
	key, end, err := keyRange(args, flags.prefix, flags.fromKey)
	request := &pb.DeleteRangeRequest{Key: key, RangeEnd: end, PrevKv: prevKV}
	return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: request}}, err
}

// splitWords splits a line at spaces. Double quotes enclose a word with Go's escapes, single quotes
// one without escapes.
func splitWords(line string) (words []string, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		var word string
		switch line[0] {
		case '"':
			quoted, err := strconv.QuotedPrefix(line)
			if err != nil {
				return nil, fmt.Errorf("a quote is not closed, or an escape is unknown: %s", line)
			}
			if word, err = strconv.Unquote(quoted); err != nil {
				return nil, fmt.Errorf("%s: %w", quoted, err)
			}
			line = line[len(quoted):]
		case '\'':
			end := strings.IndexByte(line[1:], '\'')
			if end < 0 {
				return nil, fmt.Errorf("a quote is not closed: %s", line)
			}
			word, line = line[1:end+1], line[end+2:]
		default:
			word, line, _ = strings.Cut(line, " ")
		}
		words = append(words, word)
	}
	return words, nil
}
