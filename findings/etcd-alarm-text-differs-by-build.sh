#!/usr/bin/env bash
# Software: go.etcd.io/etcd/api/v3 3.6.8 and 3.7.3, whose AlarmMember.String() is the text in
#   Status.errors.
# Guess: the text of an alarm, as in "etcdctl endpoint status -w json", is the same for the same
#   version of etcd.
# Behaviour: since 3.7 it has one space or two between its fields, which depends on the bytes of
#   the executable: google.golang.org/protobuf varies its text on purpose. 3.6 always had the same
#   text, with a space at the end.
# For users: compare the alarm of AlarmResponse, or look for "alarm:NOSPACE" alone. What compares
#   the whole text works with one build of etcd and fails with the next of the same version.
# Known: protobuf documents that String() is not stable; for etcd we found nothing. Troupe writes
#   the text itself, with one space.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   sixteen builds of the same source, against api/v3 3.6.8:
#        16 "memberID:1 alarm:NOSPACE "
#   sixteen builds of the same source, against api/v3 3.7.3:
#         9 "memberID:1  alarm:NOSPACE"
#         7 "memberID:1 alarm:NOSPACE"
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat >main.go <<'EOF'
package main

import (
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

var build string // makes the size of each build differ

func main() {
	_ = build
	fmt.Printf("%q\n", (&pb.AlarmMember{MemberID: 1, Alarm: pb.AlarmType_NOSPACE}).String())
}
EOF
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
texts() {
	go get "go.etcd.io/etcd/api/v3@$1" >get.log 2>&1 || { cat get.log >&2; exit 1; }
	for size in $(seq 0 5000 75000); do
		go build -o finding -ldflags "-X main.build=x$(printf "%0${size}d" 0)" .
		./finding
	done | sort | uniq -c
}
old=$(texts v3.6.8)
new=$(texts v3.7.3)
printf 'sixteen builds of the same source, against api/v3 3.6.8:\n%s\n' "$old"
printf 'sixteen builds of the same source, against api/v3 3.7.3:\n%s\n' "$new"
if [ "$(wc -l <<<"$old")" != 1 ] || [ "$(wc -l <<<"$new")" != 2 ]; then
	echo "CHANGED: the finding does not hold"
	exit 1
fi
