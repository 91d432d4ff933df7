package stage_test

import (
	"errors"
	"fmt"

	"github.com/k8sp/cuda/pkg/stage"
)

// A script tells by the exit code which stage failed, however often the error
// was wrapped.
func ExampleExitCode() {
	err := fmt.Errorf("the job: %w", &stage.Error{Stage: stage.Source, Reason: "there is no such ref"})
	fmt.Println(stage.ExitCode(err), stage.ExitCode(errors.New("a bug")), stage.ExitCode(nil))
	// Output: 12 1 0
}
