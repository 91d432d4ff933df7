// Package gpu holds the example and builder against a machine that has an NVIDIA
// GPU and a driver: the example computes right, and `builder load` leaves the
// driver that is there as it is and describes it in a CDI specification. Nothing
// here loads, unloads or resets anything.
//
// `make test-gpu` runs it. Its machine may have neither Go nor Docker.
package gpu
