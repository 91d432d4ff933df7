package image

func (img *Image) setSymbols(f *elfFile) error { return nil }
