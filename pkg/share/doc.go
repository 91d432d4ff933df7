// Package share is the folder that builder and its user have in common:
// /opt/share in the container.
//
// It is the input (cuda/, linux/), the result (modules/) and the cache
// (.builder/), and it may be anything: a local disk, a laptop's folder over
// NFS, read-only by mistake, nearly full. [Open] finds out, [Share.Lock] makes
// two runs on one share take turns and hands out scratch that is thrown away,
// [Share.Need] states a lack of space before the work, and [Share.Chown] gives
// what a root container wrote to whom the share belongs.
package share
