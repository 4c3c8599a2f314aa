package raft

import "strconv"

// FormatID formats the id of a member or of a cluster as in logs, metrics and names of actors:
// hexadecimal, without prefix or leading zeros.
func FormatID(id uint64) string { return strconv.FormatUint(id, 16) }
