// Command bench measures what builder costs beside git and the classic script,
// and writes the table of BENCHMARKS.md: `make bench`. It needs Docker and Go.
//
// Everything is timed from outside, as the process that a user would start:
// integration/stopwatch is its parent and knows nothing of it. Bytes of the
// network are counted by a relay in front of the git server, disk by blocks.
// The programs that are compared take turns in one run on one machine, in the
// same image and from the same server, and nothing is kept from one turn to the
// next but the machine's page cache. Figures are medians, and what is above its
// target is in the table like the rest.
package main
