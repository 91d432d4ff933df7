// Package example builds the image of example/ by its own script, and runs it,
// where there is neither the CUDA toolkit nor a GPU: with stand-ins for nvcc and
// for builder. What the real ones do is for integration/gpu.
package example
