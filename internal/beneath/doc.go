// Package beneath is how a program that is root works in a folder that belongs to
// somebody else, who may be hostile: its functions are those of package os by
// their names, and differ in three ways.
//
//   - No link is followed, in no part of a path. A path is opened component by
//     component, each by the descriptor of the one before and with O_NOFOLLOW, so
//     that exchanging a folder for a link while builder works gains nothing.
//     ([os.Root] follows links that stay inside, and openat2(2) is not in the
//     4.x kernels.)
//   - What is made is new: O_EXCL, and never a file that was there. The mode is
//     the one that was asked for, whatever the umask.
//   - In a folder that [Hold] holds, and below it, all is done as whom the folder
//     belongs to: the thread has that user's and group's identity towards file
//     systems while it does it (setfsuid(2)). What is made is theirs from the
//     start, so that owners need not be changed, and what they may not read or
//     write is refused to builder as it is to them.
//
// Where that identity cannot be had (no CAP_SETUID, a user that a user namespace
// does not map), and where builder is not root, all is done as builder.
//
// Each of them walks its whole path anew. Who has thousands of files in few folders opens
// each of these once, by [In].
//
// Paths are to be absolute and free of links above the folder that is held:
// [Hold] says what it is called without.
package beneath
