package nextkernel

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

// Path is where an agent is asked, by GET: it answers with a [Status] as JSON, and with 503
// where that is [Unknown].
const Path = "/next"

// wait is how long a question waits for a look that is newer than itself; looks are seconds
// apart, but for one that makes a capture.
const wait = 10 * time.Second

// ServeHTTP answers how far the driver for the next kernel is.
func (a *Agent) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != Path || r.Method != http.MethodGet {
		http.NotFound(w, r)
		return
	}
	select {
	case a.asking <- struct{}{}:
		defer func() { <-a.asking }()
	default:
		http.Error(w, "too many questions at once", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), wait)
	defer cancel()
	status := a.Answer(ctx)
	w.Header().Set("Content-Type", "application/json")
	if status.State == Unknown {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(status) // who asked may be gone
}

// Answer is the status by a look at the host that began after it was asked. Where there is
// none before the context ends it is [Unknown].
func (a *Agent) Answer(ctx context.Context) Status {
	asked := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		s, looked, err := readSighting(a.Watch.Dir)
		if err == nil && looked.After(asked) {
			return a.of(s)
		}
		select {
		case <-ctx.Done():
			if err != nil {
				return Status{State: Unknown, Says: fmt.Sprintf("nobody has looked for updates of this host: %v", err), Next: "look at the log of who is to: builder next watch"}
			}
			return Status{State: Unknown, Says: "nobody looks for updates of this host since " + looked.UTC().Format(time.RFC3339), Next: "look at the log of who is to: builder next watch"}
		case <-tick.C:
		}
	}
}

// of is the status of a sighting: what was made of it, or that there is work to do.
func (a *Agent) of(s sighting) Status {
	known := a.known()
	if s.Capture != "" && known.Boot == s.Boot && known.Update == s.Update {
		return known
	}
	return s.Status
}
