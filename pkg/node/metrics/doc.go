// Package metrics shows Prometheus what whoever stays beside a driver knows of it.
//
// [Listen] opens the address, [Server.Tell] is told each [node.Status], and [Server.Serve]
// answers GET /metrics with the last of them. A scrape asks neither a GPU nor the share, and
// so can neither wait for one nor change it. What is not known has no metric: a load that is
// going on, a pull that nobody has written down, a driver that somebody else has brought.
//
// Names follow Prometheus' conventions (prometheus.io/docs/practices/naming): base units, and
// _total for what only grows. What the Go runtime knows of this process is left out: container
// runtimes tell its memory and CPU, and the rest says nothing of a driver.
package metrics
