// Package publish leaves a folder of files in the share, all at once or not at
// all: SHARE/…/NAME is a link to a folder beside it that is named after its
// content (.NAME-DIGEST). That folder is complete and on the disk before the
// link is replaced, so that whoever looks, and whatever crashes, finds the old
// result or the new one.
//
// What the files are is the caller's business, and so is the index, a text
// that lists them: the content's name is the digest of it. Where it is signed
// ([Sign]), its signature is beside it and part of what is published, and not of the
// name: [ReadIndex] reads an index that somebody who is trusted has signed.
package publish
