package world

import "testing"

func check(t *testing.T, r *Result) {
	t.Helper()
	if err := r.Err(); err != nil {
		t.Fatal(err)
	}
}
