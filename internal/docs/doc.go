// Package docs holds the project's documents to the truth, in tests, which alone import
// it. [Section] has a part of a page be what the program says. [Block] gives a test the
// commands of a page, to run them as its reader would; [Blocks] and [Links] are what there
// is on a page. The package's own tests find links that lead nowhere, and commands that
// no test runs.
package docs
