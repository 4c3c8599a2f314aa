package troupe

// Everything generated comes from here: `go generate ./...` in a checkout, with tools pinned in
// tools/go.mod.

//go:generate go tool -modfile=tools/go.mod buf generate
