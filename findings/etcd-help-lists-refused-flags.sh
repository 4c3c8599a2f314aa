#!/usr/bin/env bash
# Software: etcd 3.7.3 (go.etcd.io/etcd/server/v3@v3.7.3).
# Guess: etcd accepts every flag that "etcd --help" lists.
# Behaviour: it refuses --discovery and --discovery-proxy as unknown, and its help says of both
#   "Will be deprecated in v3.7, and be decommissioned in v3.8".
# For users: a unit file of 3.6 with one of them, checked against the help of 3.7.3, does not
#   start. Remove both; --discovery-token and --discovery-endpoints are those of v3 discovery.
# Known: no issue found; issue 13624 planned the removal for 3.8.
# Output seen on 2026-11-30 (go1.26.8, linux/amd64):
#   flags in the help of etcd Version: 3.7.3: 113
#   of them refused as unknown: --discovery --discovery-proxy
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
export GOWORK=off GOFLAGS=-mod=mod
go mod init finding 2>/dev/null
go get go.etcd.io/etcd/server/v3@v3.7.3 >get.log 2>&1 || { cat get.log; exit 1; }
go build -o etcd go.etcd.io/etcd/server/v3
./etcd --help >help 2>&1
flags=$(grep -oE '^ +--[a-z0-9-]+' help | tr -d ' ' | sort -u)
refused=
for flag in $flags; do
	case $flag in --help | --version) continue ;; esac
	# --version ends etcd once all flags are parsed, so a flag that it knows starts nothing.
	answer=$(timeout 20 ./etcd --version "$flag=x" 2>&1 || true)
	case $answer in "flag provided but not defined"*) refused+=" $flag" ;; esac
done
echo "flags in the help of $(./etcd --version | head -1): $(wc -l <<<"$flags")"
echo "of them refused as unknown:$refused"
if [ "$refused" != " --discovery --discovery-proxy" ]; then
	echo "CHANGED: the finding does not hold"
	exit 1
fi
