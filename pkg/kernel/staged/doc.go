// Package staged knows what the next boot of a Flatcar host brings, once its update_engine
// has staged an update: another /usr, in the partition that does not run, and another
// kernel. [Find] tells whether there is one, and [Update.Capture] records the host as it
// will be, as package kernel records one that runs; so builds for it need no more than
// that record, and nothing of the partition stays mounted for longer than it takes to make
// it.
//
// The partition is mounted read-only, as update_engine does to run what is on it: not a
// bit of it may change, as the next boot compares it with its hash.
//
// Sources: flatcar/update_engine, update_attempter.cc (the mark, which is there before
// anybody is told of the update, and which a reset of the status removes; the partition
// stays the next boot's all the same), postinstall_runner_action.cc (the mount) and
// omaha_response_handler_action.cc (where the kernel goes); Flatcar's disk layout and the
// words mount.usr and verity.usr of its GRUB configuration.
package staged
