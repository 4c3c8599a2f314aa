package troupe

// `go generate ./...` generates all generated code, with the tools that tools/go.mod pins.

//go:generate go tool -modfile=tools/go.mod buf generate
