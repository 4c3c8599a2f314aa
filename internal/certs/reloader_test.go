package certs

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/troupe-raft/troupe/internal/certs/certstest"
)

func TestReloaderKeepsCertificateIfFilesBreak(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("m", nil)
	reloader, err := newReloader(a.Path("m.pem"), a.Path("m-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	setModTime := func(name string, by time.Duration) {
		if err := os.Chtimes(a.Path(name), time.Now(), time.Now().Add(by)); err != nil {
			t.Fatal(err)
		}
	}
	var changes []string
	reloader.changed = func(file string, loaded *tls.Certificate, err error) {
		changes = append(changes, fmt.Sprintf("%s %v %v", filepath.Base(file), loaded != nil, err != nil))
	}
	serial := func() *big.Int { c, _ := reloader.current(); return c.Leaf.SerialNumber }
	first := serial()
	a.Write("m.pem", []byte("half written"))
	setModTime("m.pem", time.Second)
	for range 2 {
		if serial().Cmp(first) != 0 {
			t.Fatal("a broken file replaced a good certificate")
		}
	}
	renewed := a.Issue("m", nil).Certificate
	setModTime("m.pem", 2*time.Second)
	if serial().Cmp(renewed.SerialNumber) != 0 {
		t.Fatal("the renewed certificate is not in use")
	}
	a.Write("m-key.pem", []byte("half written"))
	setModTime("m-key.pem", 3*time.Second)
	if serial().Cmp(renewed.SerialNumber) != 0 {
		t.Fatal("a broken key replaced a good certificate")
	}
	// Each change is reported once: broken, renewed, broken.
	if want := []string{"m.pem false true", "m.pem true false", "m.pem false true"}; !slices.Equal(changes, want) {
		t.Errorf("reported %q, want %q", changes, want)
	}
}

// A read can fail although the files are good a moment later, and their times do not show it: as
// after a change of the owner, or after a write within one tick of the file system's clock.
func TestReloaderReadsAgainAfterAFailedRead(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("m", nil)
	reloader, err := newReloader(a.Path("m.pem"), a.Path("m-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var failures, renewals int
	reloader.changed = func(_ string, _ *tls.Certificate, err error) {
		if err != nil {
			failures++
		} else {
			renewals++
		}
	}
	renewed := a.Issue("m", nil).Certificate
	key, err := os.ReadFile(a.Path("m-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	tick := time.Now().Add(time.Second)
	write := func(data []byte) {
		a.Write("m-key.pem", data)
		for _, name := range []string{"m.pem", "m-key.pem"} {
			if err := os.Chtimes(a.Path(name), tick, tick); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(bytes.Repeat([]byte("x"), len(key)))
	for range 3 {
		if c, err := reloader.current(); err != nil || c.Leaf.SerialNumber.Cmp(renewed.SerialNumber) == 0 {
			t.Fatalf("with an unusable key: %v, %v", c.Leaf.SerialNumber, err)
		}
	}
	write(key)
	if c, err := reloader.current(); err != nil || c.Leaf.SerialNumber.Cmp(renewed.SerialNumber) != 0 {
		t.Fatalf("the renewed certificate is not in use: %v", err)
	}
	if failures != 1 || renewals != 1 {
		t.Errorf("%d failures and %d renewals were reported, want 1 of each", failures, renewals)
	}
}

// A failure is reported again if its reason changes, and files that are missing are a failure.
func TestReloaderReportsEachReasonOnce(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("m", nil)
	reloader, err := newReloader(a.Path("m.pem"), a.Path("m-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	var problems []string
	reloader.changed = func(_ string, _ *tls.Certificate, err error) {
		var fault *Error
		if errors.As(err, &fault) {
			problems = append(problems, filepath.Base(fault.File)+" "+fault.Problem)
		}
	}
	call := func() {
		for range 2 {
			if _, err := reloader.current(); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, name := range []string{"m.pem", "m-key.pem"} {
		if err := os.Remove(a.Path(name)); err != nil {
			t.Fatal(err)
		}
	}
	call()
	a.Write("m.pem", []byte("no certificate"))
	call()
	a.Issue("m", func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Minute) })
	call()
	want := []string{"m.pem does not exist", "m.pem holds no certificate"}
	if len(problems) != 3 || !slices.Equal(problems[:2], want) || !strings.HasPrefix(problems[2], "m.pem expired on") {
		t.Errorf("reported %q", problems)
	}
}

// Of the two configurations of a member that have the same files, one reports a change.
func TestChangedCertificateIsReportedOnce(t *testing.T) {
	a := certstest.NewAuthority(t, "ca")
	a.Issue("m", nil)
	changes := 0
	s := Server{
		Enabled: true, CertFile: a.Path("m.pem"), KeyFile: a.Path("m-key.pem"), CAFile: a.Path("ca.pem"), Mutual: true, RequireClientCert: true,
		Changed: func(string, *tls.Certificate, error) { changes++ },
	}
	listening, err := s.ServerConfig()
	if err != nil {
		t.Fatal(err)
	}
	dialing, err := s.ClientConfig()
	if err != nil {
		t.Fatal(err)
	}
	a.Issue("m", nil)
	if err := os.Chtimes(a.Path("m.pem"), time.Now(), time.Now().Add(time.Second)); err != nil {
		t.Fatal(err)
	}
	_, err = listening.GetCertificate(nil)
	_, clientErr := dialing.GetClientCertificate(nil)
	if err := errors.Join(err, clientErr); err != nil || changes != 1 {
		t.Errorf("%d reports of one change, %v", changes, err)
	}
}
