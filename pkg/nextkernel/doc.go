// Package nextkernel sees to it that the kernel which a host's next boot brings has a
// proven driver before that boot: it finds a staged update, captures the host as it will be
// ([pkg/kernel/staged]), and has a build of [pkg/job] find, have made or make the modules
// for it, by the options that the running kernel's are made by. Nothing of the driver that
// is loaded is touched.
//
// It is two halves, since one needs rights that the other is better without. [Watch] mounts
// a partition of the host's, for which it has to be privileged; it leaves captures in a
// folder and does nothing else. [Agent] builds for what it finds in that folder, reaches
// the network and answers questions, and has no right on the host. Where one process does
// it once, as `builder next` in a shell, [Once] is both.
//
// # What an answer is worth
//
// Others wait for a [Status] before they reboot a host (pkg/nextkernel/fluo is one), so a
// stale one would be the hole. Three things close it:
//
//   - An answer is newer than its question. The watcher notes when it looked for the last
//     time, and [Agent.ServeHTTP] waits for a look that began after it was asked. A watcher
//     that has died is told of as such, and not as a host where nothing is staged.
//   - An answer is of one staging: the mark that update_engine leaves, of one boot. When
//     another update is staged all begins anew, and until the watcher has captured it the
//     answer is that there is work to do.
//   - Once an update was seen in a boot, "nothing is staged" is never said again in it. A
//     reset of update_engine's status removes the mark and leaves the boot loader's
//     priorities as they are, so the next boot may still bring that update.
package nextkernel
