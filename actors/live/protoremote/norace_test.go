//go:build !race

package protoremote

const raceDetector = false
