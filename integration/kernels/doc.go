// Package kernels tests what the job believes about the sources of kernels on
// those of several releases. Its tests carry the build tag integration.
package kernels
