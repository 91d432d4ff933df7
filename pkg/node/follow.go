package node

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/node/nvrm"
	"github.com/k8sp/cuda/pkg/stage"
)

// followPoll is how often whoever stays looks for a sign that the driver has changed, which
// costs next to nothing. A check, which reads every module and opens every GPU's device file,
// is made in every sixtieth turn, or when there was a sign; where that is the driver's word in
// the kernel's log, which a program can have it say all the time, not before the sixth.
const (
	followPoll = 10 * time.Second
	checkTurns = 60
	heardTurns = 6
)

// maxXids is how many kinds of Xids, of all GPUs, are counted each by itself.
const maxXids = 256

// follower finds out how a driver is for as long as somebody stays.
type follower struct {
	*loader
	options LoadOptions
	known   Status
	log     live.Mark
	// poll is how long a turn is, and due when the next check is.
	poll time.Duration
	due  time.Time
	// deaf says that it was told that the kernel's log cannot be read.
	deaf bool
}

// newFollower is one that goes on from what is known, and hears what the kernel's log says from
// now on.
func (l *loader) newFollower(o LoadOptions, known Status) *follower {
	return &follower{loader: l, options: o, known: known, log: live.MarkLog(l.Kernel), poll: cmp.Or(l.poll, followPoll)}
}

// follow finds out how the driver is, until the context ends, and tells it, where somebody is
// to be told. Nobody who is told has to ask the GPUs.
func (f *follower) follow(ctx context.Context) {
	if f.Tell == nil && !f.labelled() {
		return
	}
	f.due = time.Now().Add(checkTurns * f.poll)
	tick := time.NewTicker(f.poll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-f.news:
			f.due = time.Now()
		case <-tick.C:
			f.listen(ctx)
			if live.Version(f.host) != f.known.Driver {
				f.due = time.Now()
			}
		}
		if !time.Now().Before(f.due) {
			f.check(ctx)
		}
	}
}

// hint is a sign that the driver may be another than is known.
func (l *loader) hint() {
	select {
	case l.news <- struct{}{}:
	default: // there is one already
	}
}

// listen counts the Xids that the driver has said since it was listened to.
func (f *follower) listen(ctx context.Context) {
	lines, err := f.log.Next()
	if err != nil && !f.deaf {
		f.deaf = true
		zerolog.Ctx(ctx).Warn().Err(err).Str("next", "add --cap-add SYSLOG to docker run").
			Msg("the driver's Xids are in the kernel's log, which cannot be read, so they are not counted")
	}
	changed := (err == nil) != (f.known.Deaf == nil)
	f.known.Deaf = err
	changed = f.count(lines) || changed
	if soon := f.known.At.Add(heardTurns * f.poll); len(nvrm.Read(lines)) > 0 && soon.Before(f.due) {
		f.due = soon
	}
	if changed && f.Tell != nil {
		f.Tell(ctx, f.status())
	}
}

// count counts the Xids in lines of the kernel's log, and says whether more is known of them.
func (f *follower) count(lines []string) bool {
	xids, first := nvrm.Xids(lines), f.known.Xids == nil
	if first {
		f.known.Xids = map[Xid]int{}
	}
	for _, m := range xids {
		x := Xid{m.Address, m.Xid}
		if _, there := f.known.Xids[x]; !there && len(f.known.Xids) >= maxXids {
			x = Xid{}
		}
		f.known.Xids[x]++
	}
	return first || len(xids) > 0
}

// status is what is known, for others to keep.
func (f *follower) status() Status {
	s := f.known
	s.Xids = maps.Clone(s.Xids)
	return s
}

// check finds out what a load --check with the same options would say now.
func (f *follower) check(ctx context.Context) {
	f.due = time.Now().Add(checkTurns * f.poll)
	if f.result.State == LeftAlone && live.Version(f.host) == f.known.Driver {
		f.known.At = time.Now() // it is somebody else's, and as it was
		f.tell(ctx, f.status())
		return
	}
	o := f.options
	o.Check, o.Stay, o.Tell = true, false, nil
	// What it finds is told once, below.
	quiet := zerolog.Ctx(ctx).Level(zerolog.Disabled)
	result, err := Load(quiet.WithContext(ctx), o)
	if ctx.Err() != nil || err != nil && stage.KindOf(err) == turnKind {
		return // it has found out nothing
	}
	s := result.status
	if s.State == "" { // it did not get so far
		s = Status{State: stage.KindOf(err), Err: err, At: time.Now(), Driver: live.Version(f.host), Release: f.release}
	}
	s.Load, s.Xids, s.Deaf = f.known.Load, f.known.Xids, f.known.Deaf
	before := f.known
	f.known = s
	f.sayChange(ctx, before)
	f.tell(ctx, f.status())
}

// sayChange logs that the driver is in another state than before.
func (f *follower) sayChange(ctx context.Context, before Status) {
	log := zerolog.Ctx(ctx)
	var failure *stage.Error
	switch {
	case f.known.State == before.State:
	case f.known.State == StateReady:
		log.Info().Str("driver", f.known.Driver).Str("before", before.State).Msg("the driver is ready")
	case errors.As(f.known.Err, &failure):
		log.Error().Str("kind", f.known.State).Str("before", before.State).Str("next", failure.Hint).Msg("the driver is not ready: " + failure.Sentence())
	default:
		log.Error().Str("kind", f.known.State).Str("before", before.State).Err(f.known.Err).Msg("the driver is not ready")
	}
}
