// Package docs holds the project's documents to the truth, in tests: [Section] has a
// part of a page be what the program says. Only tests import it.
package docs
