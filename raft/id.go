package raft

import "strconv"

// FormatID formats the id of a member or of a cluster as in logs, errors, the command line, JSON,
// metrics and names of actors: hexadecimal, after 0x, without leading zeros. In formats it is %#x.
func FormatID(id uint64) string { return "0x" + EtcdID(id) }

// EtcdID formats an id as etcd does in texts and in labels of its metrics: as FormatID, without the
// prefix. It is for what etcd's tools read.
func EtcdID(id uint64) string { return strconv.FormatUint(id, 16) }
