package confine

// Quickly has a program of the race detector's end at once, and not a second later.
const Quickly = "GORACE=atexit_sleep_ms=20"

func init() { helperEnvironment = []string{Quickly} }
