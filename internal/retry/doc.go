// Package retry knows which failures of a network or a server may pass, and
// tries again where one may.
//
// What failed is marked as [Temporary] by [Connection] or [Response], where the
// error's or the answer's kind is still known; [Loop] tries again for those
// errors and no others, and waits as long as a server asks to be left alone.
package retry
