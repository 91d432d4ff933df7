package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/rs/zerolog"
	"golang.org/x/net/netutil"

	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/stage"
)

// FailedKind is the kind of failure of who is to show metrics, and cannot.
const FailedKind = "metrics"

// What anybody who reaches the address can have of this process, which may run a node's fabric
// manager: so many connections and requests at once, for so long.
const (
	connections = 64
	requests    = 4
	forHeaders  = 2 * time.Second
	forRequest  = 10 * time.Second
	forAnswer   = 30 * time.Second
	whileIdle   = 2 * time.Minute
	headerBytes = 8 << 10
)

// Server answers Prometheus at one address.
type Server struct {
	listener  net.Listener
	collector collector
}

// Listen opens an address, HOST:PORT. Its error is of the usage stage where that is none, and
// of the load stage where it cannot be had.
func Listen(address, version string) (*Server, error) {
	_, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return nil, stage.New(stage.Usage, fmt.Sprintf("--metrics %s is no address and port to listen at", address), "write it as 127.0.0.1:19500, or as :19500 for all addresses")
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return nil, stage.OfKind(FailedKind, stage.Wrap(stage.Load, err, "metrics cannot be shown at "+address, "name an address of this host's or container's, and a port that nobody has, with --metrics"))
	}
	return &Server{listener: netutil.LimitListener(listener, connections), collector: collector{version: version}}, nil
}

// Tell has the metrics be of a status, which nobody changes any more.
func (s *Server) Tell(status node.Status) { s.collector.tell(status) }

// Serve answers until the context ends. That it cannot go on is only said: it is not what
// somebody stays for.
func (s *Server) Serve(ctx context.Context) {
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(&s.collector)
	mux := http.NewServeMux()
	// It is text of some KB: to compress it costs more than it saves.
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: requests, DisableCompression: true}))
	server := &http.Server{
		Handler: mux, ReadHeaderTimeout: forHeaders, ReadTimeout: forRequest, WriteTimeout: forAnswer, IdleTimeout: whileIdle, MaxHeaderBytes: headerBytes,
		ErrorLog: log.New(io.Discard, "", 0), // of what anybody sends
	}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	zerolog.Ctx(ctx).Info().Str("at", "http://"+s.listener.Addr().String()+"/metrics").Msg("metrics are shown")
	if err := server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		zerolog.Ctx(ctx).Error().Err(err).Str("kind", FailedKind).Msg("metrics are not shown any more")
	}
}
