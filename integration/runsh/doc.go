// Package runsh tests run.sh and the Vagrantfile as a laptop would use them.
//
// run.sh runs for real, with the tools of the lab's image: curl downloads from
// a server on the loopback, makeself's own header unpacks what makeself packed.
// Two things stand in, and say so: `vagrant` (testdata/bin), because there is no
// VM here, and the CUDA toolkit, which is a small archive in the same layout.
package runsh
