// Package shared has what the tests of one package share: the first test that
// needs a thing makes it, and where none does, nothing is made. What goes wrong
// fails every test that needs the thing, and no other.
package shared

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
)

var open = sync.OnceValues(func() (*lab.Lab, error) { return lab.Open(context.Background(), os.Stderr) })

// Lab is the lab that makes everything.
func Lab(t testing.TB) *lab.Lab {
	t.Helper()
	l, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// Thing is for a variable: a function that returns what make makes once. The
// context is not a test's, since the thing is for all of them.
func Thing[T any](make func(*lab.Lab, context.Context) (T, error)) func(testing.TB) T {
	once := sync.OnceValues(func() (thing T, err error) {
		l, err := open()
		if err != nil {
			return thing, err
		}
		return make(l, context.Background())
	})
	return func(t testing.TB) T {
		t.Helper()
		thing, err := once()
		if err != nil {
			t.Fatal(err)
		}
		return thing
	}
}

// Image is a [Thing] that is an image of Docker's, of which the function returns
// the name.
func Image(name string, make func(*lab.Lab, context.Context) error) func(testing.TB) string {
	return Thing(func(l *lab.Lab, ctx context.Context) (string, error) { return name, make(l, ctx) })
}

// Debian is the image debian:SUITE-slim.
func Debian(suite string) func(testing.TB) string {
	return Thing(func(l *lab.Lab, ctx context.Context) (string, error) { return l.DebianImage(ctx, suite) })
}

var (
	mu    sync.Mutex // guards atEnd
	atEnd []func()
)

// AtEnd has [Main] call a function after the last test: what ends or removes a
// thing is given here when the thing is made.
func AtEnd(f func()) {
	mu.Lock()
	defer mu.Unlock()
	atEnd = append(atEnd, f)
}

// Main is the TestMain of a package that leaves something to [AtEnd].
func Main(m *testing.M) {
	code := m.Run()
	mu.Lock()
	defer mu.Unlock()
	for _, f := range slices.Backward(atEnd) {
		f()
	}
	os.Exit(code)
}
