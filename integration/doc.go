// Package integration tests the job as its users run it: in Docker, on real
// kernel sources and real driver sources, with the checkout as the share.
//
// Its tests have the build tag integration and fail, not skip, where they lack
// what they need: Docker, and Debian's packages and Go's modules over HTTP.
// Package lab makes the parts, and lab/shared has each made by the first test
// that needs it; demo runs them for people to look at.
package integration
