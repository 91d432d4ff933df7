package partial

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"path"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/gitpack"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/internal/retry"
)

// limits are beyond any kernel of today, whole: 90,000 objects at depth 1, of
// 1.5 GB, the largest of 24 MB.
var limits = gitpack.Limits{Objects: 1 << 19, Object: 128 << 20, Total: 4 << 30}

// Options say what is checked out, and where to.
type Options struct {
	// URL is the repository's, without credentials, which are in Auth.
	URL  string
	Auth transport.AuthMethod
	// Want is the object that is wanted, a commit or an annotated tag of one,
	// and Ref the full name that the repository gives it.
	Want plumbing.Hash
	Ref  string
	// Pinned refuses a server that has Ref, at another object than Want.
	Pinned bool
	// Dir is where the repository is made. It must not exist, and holds
	// something half-made after an error.
	Dir string
	// Choose says which paths are wanted, and Patterns says the same in the
	// syntax of git's sparse-checkout. Nil wants them all.
	Choose   func(path string) bool
	Patterns string
	// Spare says which paths may be left out where they cannot all be had, on
	// a file system that folds case. Nil spares none.
	Spare func(path string) bool
	// Earlier is a repository made by this package, on the same file system,
	// that the new one is to replace: its objects, and those of its files that
	// are still the same, are linked into the new one. Empty means none.
	Earlier string
	// Transport talks HTTP; nil means http.DefaultTransport, with its proxies
	// from the environment.
	Transport http.RoundTripper
	// Stall is how long a server may be silent; zero means a minute.
	Stall time.Duration
	// Pause is how long to wait before the second try; it doubles with each
	// after that. Zero means a second.
	Pause time.Duration
	// Once tries nothing again.
	Once bool
}

func (o Options) withDefaults() Options {
	if o.Stall == 0 {
		o.Stall = time.Minute
	}
	return o
}

// Result is what was checked out.
type Result struct {
	// Commit is what Want stood for.
	Commit plumbing.Hash
	// Files is how many of the commit's files are there, of All.
	Files, All int
	// LeftOut are paths that were wanted, sorted, and are not there because
	// the file system takes them for others.
	LeftOut []string
}

// Checkout makes a repository at o.Dir with the one commit and those of its
// files that are chosen.
//
// A connection that fails in a way that may pass is tried again, and then only
// what is still missing is asked for. A repository is refused that holds a name
// which could lead out of o.Dir or into its .git, a link out of it or in the
// place of a folder, a content that is not what its name or its size says, or
// more than any kernel does; what is outside of o.Dir is never written to.
func Checkout(ctx context.Context, o Options) (Result, error) {
	c := &checkout{o: o.withDefaults(), objects: newObjects(o.Dir)}
	defer c.objects.close()
	if err := c.begin(); err != nil {
		return Result{}, err
	}
	c.task = progress.Begin(ctx, "kernel source", "files", 0)
	defer c.task.End()
	if err := c.persist(ctx, c.try); err != nil {
		return Result{}, err
	}
	return c.result(), c.writeRepository()
}

// checkout is one run of Checkout.
type checkout struct {
	o       Options
	task    *progress.Task // counts files
	objects *objects
	folds   bool
	// borrowed says that the packs are there that the earlier files came in.
	borrowed bool
	// whole says that the server was, or has to be, asked for all contents.
	whole   bool
	commit  plumbing.Hash
	files   []*file // nil until the commit is there
	leftOut []string
}

func (c *checkout) begin() error {
	if err := initialize(c.o.Dir); err != nil {
		return err
	}
	var err error
	if c.folds, err = foldsCase(c.o.Dir); err != nil || c.o.Earlier == "" {
		return err
	}
	if c.borrowed, err = borrow(c.o.Earlier, c.o.Dir); err != nil {
		return err
	}
	return c.objects.changed()
}

// persist tries until everything is there, or it makes no sense to try again.
func (c *checkout) persist(ctx context.Context, do func(context.Context) error) error {
	if c.o.Once {
		return do(ctx)
	}
	loop := retry.Loop{Pause: c.o.Pause, Again: func(err error, wait time.Duration) {
		zerolog.Ctx(ctx).Warn().Err(err).Dur("wait", wait).Int("files_missing", c.missing()).Msg("the git server failed; trying again")
	}}
	return loop.Do(ctx, func() (progress bool, err error) {
		for {
			before := c.missing()
			err := do(ctx)
			if !errors.Is(err, errUnknown) || c.whole || ctx.Err() != nil {
				return c.files != nil && c.missing() < before, err
			}
			zerolog.Ctx(ctx).Warn().Err(err).Msg("this git server gives no parts of a commit: fetching it whole")
			c.whole, c.files = true, nil
		}
	})
}

// missing is how many files are still to be written.
func (c *checkout) missing() int {
	n := 0
	for _, f := range c.files {
		if f.wanted && f.info == nil {
			n++
		}
	}
	return n
}

// try does what is left to do. The server is asked only for what is not there.
func (c *checkout) try(ctx context.Context) error {
	server := &link{o: &c.o, task: c.task}
	defer server.close()
	if c.files == nil {
		if !c.objects.has(c.o.Want) || c.whole {
			if err := c.fetchCommit(ctx, server); err != nil {
				return err
			}
		}
		if err := c.choose(ctx); err != nil {
			return err
		}
	}
	w := newWriter(ctx, c.o.Dir, c.task, c.folders())
	// Whatever has arrived is written, also where the rest has not.
	return errors.Join(c.fill(ctx, server, w), w.close())
}

// fetchCommit fetches the commit and its trees, and contents only from a
// server that gives no other kind of answer.
func (c *checkout) fetchCommit(ctx context.Context, server *link) error {
	if err := server.open(ctx); err != nil {
		return err
	}
	if has, ok := server.refs[c.o.Ref]; ok && c.o.Pinned && has != c.o.Want {
		return fmt.Errorf("%s has it at %s and the API at %s", c.o.URL, has, c.o.Want)
	}
	for _, needed := range []capability.Capability{capability.Filter, capability.AllowReachableSHA1InWant} {
		if !server.can.Supports(needed) && !c.whole {
			zerolog.Ctx(ctx).Info().Str("lacks", needed.String()).Msg("this git server gives no parts of a commit: fetching it whole")
			c.whole = true
		}
	}
	if !server.can.Supports(capability.Shallow) {
		return errors.New("the server gives no commit without its history")
	}
	r := request{wants: []plumbing.Hash{c.o.Want}, shallow: true, lean: !c.whole, each: func(o gitpack.Object) error {
		c.objects.arrive(o)
		return nil
	}}
	return errors.Join(server.fetch(ctx, c.packs(), r), c.objects.changed())
}

func (c *checkout) packs() string { return filepath.Join(c.o.Dir, dot, "objects", "pack") }

// choose lists the commit's files and decides which of them are wanted.
func (c *checkout) choose(ctx context.Context) error {
	commit, root, err := c.objects.peel(c.o.Want)
	if err != nil {
		return err
	}
	files, err := walk(root, c.objects.tree)
	if err != nil {
		return err
	}
	for _, f := range files {
		f.wanted = c.o.Choose == nil || c.o.Choose(f.path)
	}
	if c.folds {
		if c.leftOut, err = leaveOut(files, c.o.Spare); err != nil {
			return err
		}
	}
	if len(c.leftOut) > 0 {
		zerolog.Ctx(ctx).Info().Strs("left_out", c.leftOut).Msg("the share does not tell upper case from lower: left out what no build needs")
	}
	c.commit, c.files = commit, files
	c.task.SetTotal(int64(c.missing()))
	return nil
}

// folders are those that lack a file.
func (c *checkout) folders() map[string]bool {
	all := map[string]bool{}
	for _, f := range c.files {
		if f.wanted && f.info == nil {
			all[path.Dir(f.path)] = true
		}
	}
	return all
}

// fill writes the wanted files, from what is there and what the server has.
func (c *checkout) fill(ctx context.Context, server *link, w *writer) error {
	if !c.borrowed {
		c.share(w, func(*file) bool { return true })
	}
	left, lacking := map[plumbing.Hash][]*file{}, map[plumbing.Hash]bool{}
	var wants []plumbing.Hash
	for _, f := range c.files {
		if !f.wanted || f.info != nil {
			continue
		}
		if left[f.hash] == nil && !c.whole && !c.objects.has(f.hash) {
			lacking[f.hash] = true
			wants = append(wants, f.hash)
		}
		left[f.hash] = append(left[f.hash], f)
	}
	put := func(o gitpack.Object) error {
		files := left[o.Hash]
		if files == nil || o.Type != plumbing.BlobObject {
			return nil
		}
		delete(left, o.Hash)
		return w.write(job{files, o.Content})
	}
	var sharing sync.WaitGroup
	if c.borrowed { // while the server thinks: what it is not asked for
		sharing.Go(func() { c.share(w, func(f *file) bool { return !lacking[f.hash] }) })
	}
	var err error
	if len(wants) > 0 {
		err = server.fetch(ctx, c.packs(), request{wants: wants, salvage: true, each: put})
		err = errors.Join(err, c.objects.changed())
	}
	sharing.Wait()
	if err != nil {
		return err
	}
	for hash, files := range left {
		if left[hash] = slices.DeleteFunc(files, func(f *file) bool { return f.info != nil }); len(left[hash]) == 0 {
			delete(left, hash)
		}
	}
	return c.fillFromStore(left, put)
}

// fillFromStore writes what was there before, in the order of its names, so
// that an error is the same each time.
func (c *checkout) fillFromStore(left map[plumbing.Hash][]*file, put func(gitpack.Object) error) error {
	var names []plumbing.Hash
	for hash := range left {
		names = append(names, hash)
	}
	slices.SortFunc(names, func(a, b plumbing.Hash) int { return bytes.Compare(a[:], b[:]) })
	for _, hash := range names {
		path := left[hash][0].path
		o, err := c.objects.get(hash)
		if err == nil && o.Type != plumbing.BlobObject {
			err = fmt.Errorf("it is a %s", o.Type)
		}
		if err != nil {
			return fmt.Errorf("content %s of %s: %w", hash, path, err)
		}
		if err := put(o); err != nil {
			return err
		}
	}
	return nil
}

func (c *checkout) result() Result {
	r := Result{Commit: c.commit, All: len(c.files), LeftOut: c.leftOut}
	for _, f := range c.files {
		if f.info != nil {
			r.Files++
		}
	}
	return r
}
