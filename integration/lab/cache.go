package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Lab makes the parts and knows where they are.
type Lab struct {
	// Checkout is the root of this repository's working tree.
	Checkout string
	cache    string
	mu       sync.Mutex // guards progress
	progress io.Writer
}

// Open returns the lab of the checkout that holds the working directory. Its
// cache is $CUDA_LAB_CACHE, or k8sp-cuda in the user's cache folder; what it
// makes, and how long that took, goes to progress.
func Open(ctx context.Context, progress io.Writer) (*Lab, error) {
	module, err := goEnv(ctx, "GOMOD")
	if err != nil {
		return nil, err
	}
	cache := os.Getenv("CUDA_LAB_CACHE")
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("no folder for the cache (set CUDA_LAB_CACHE): %w", err)
		}
		cache = filepath.Join(user, "k8sp-cuda")
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return nil, err
	}
	return &Lab{Checkout: filepath.Dir(module), cache: cache, progress: progress}, nil
}

func (l *Lab) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintf(l.progress, format+"\n", args...)
}

// step runs one step of the making and says how long it took.
func (l *Lab) step(what string, run func() error) error {
	l.say("lab: making %s", what)
	started := time.Now()
	if err := run(); err != nil {
		return fmt.Errorf("make %s: %w", what, err)
	}
	l.say("lab: made %s in %.1f s", what, time.Since(started).Seconds())
	return nil
}

// part returns the folder of a part, which build fills if the cache has no
// whole one by this recipe. The folder appears under its name only when build
// has returned.
func (l *Lab) part(ctx context.Context, name, recipe string, build func(dir string) error) (string, error) {
	unlock, err := l.lock(ctx, name)
	if err != nil {
		return "", err
	}
	defer unlock()
	dir := filepath.Join(l.cache, name+"-"+digest(recipe))
	now := time.Now()
	if err := os.Chtimes(dir, now, now); err == nil { // it is there, and in use
		return dir, nil
	}
	if err := l.removeOld(name, now); err != nil {
		return "", err
	}
	unfinished := dir + unfinishedSuffix
	if err := os.Mkdir(unfinished, 0o755); err != nil {
		return "", err
	}
	if err := l.step(name, func() error { return build(unfinished) }); err != nil {
		return "", errors.Join(err, os.RemoveAll(unfinished))
	}
	return dir, os.Rename(unfinished, dir)
}

const (
	unfinishedSuffix = ".unfinished"
	// keep is how long a part by an older recipe stays: another checkout, or
	// a run that goes on, may use it.
	keep = 7 * 24 * time.Hour
)

// removeOld removes a part's folders that no run has asked for lately, and what
// runs that were killed left of it.
func (l *Lab) removeOld(name string, now time.Time) error {
	entries, err := os.ReadDir(l.cache)
	if err != nil {
		return err
	}
	for _, e := range entries {
		stem, unfinished := strings.CutSuffix(e.Name(), unfinishedSuffix)
		if len(stem) != len(name)+1+digestLength || !strings.HasPrefix(stem, name+"-") {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if unfinished || now.Sub(info.ModTime()) > keep {
			if err := os.RemoveAll(filepath.Join(l.cache, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// lock makes two runs that want the same part take turns.
func (l *Lab) lock(ctx context.Context, name string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(l.cache, "."+name+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return func() { file.Close() }, nil // closing lets go
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			file.Close()
			return nil, fmt.Errorf("lock %s: %w", file.Name(), err)
		}
		select {
		case <-ctx.Done():
			file.Close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

const digestLength = 12

func digest(recipe string) string {
	sum := sha256.Sum256([]byte(recipe))
	return hex.EncodeToString(sum[:])[:digestLength]
}
