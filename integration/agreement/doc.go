// Command agreement holds the gate's verdicts against those of booted kernels.
// It makes broken and sound variants of real modules (integration/variants),
// asks the gate and the kernel about each, and prints both answers side by
// side. Its last line is the count: "agree: N, disagree: M".
package main
