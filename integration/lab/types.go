package lab

import "context"

// TypesOf builds the program integration/types/typesof, which is made of all that the
// job is.
func (l *Lab) TypesOf(ctx context.Context) (string, error) {
	recipe := ""
	for _, folder := range []string{"integration/types", "internal", "pkg"} {
		digest, err := l.sourceDigest(folder)
		if err != nil {
			return "", err
		}
		recipe += digest
	}
	return l.binary(ctx, "typesof", "integration/types/typesof", recipe, "")
}

// InCUDAImage runs a bash script in the image under test, in the folder out, which is
// /out there, with further folders mounted for reading: "/machine:/container".
func (l *Lab) InCUDAImage(ctx context.Context, script, out string, mounts ...string) error {
	if err := l.MakeCUDAImage(ctx); err != nil {
		return err
	}
	return container{image: CUDAImage, script: script, out: out, mounts: mounts}.run(ctx)
}
