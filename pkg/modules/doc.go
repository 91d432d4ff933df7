// Package modules knows kernel modules as files: what is in them, whether a
// kernel will accept them, and how they reach the user.
//
// [Read] takes a .ko apart. [Gate] holds modules against the kernel that must
// load them and returns every finding, not only the first; [Rules] lists what it
// looks at, and [Judge] turns the findings into a verdict. [Publish] leaves the modules and a [Manifest], which
// says exactly what they are, in SHARE/modules/REL/VER, all at once or not at
// all; [Find] reads them back and believes nothing that it did not
// digest, and [Verify] runs the gate again over them, against any kernel.
package modules
