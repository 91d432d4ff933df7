package lab

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// The newest driver of the 535 line whose digest is known to us (the Nix
// package collection pins it too).
const (
	nvidiaVersion = "535.154.05"
	nvidiaURL     = "https://us.download.nvidia.com/tesla/" + nvidiaVersion + "/NVIDIA-Linux-x86_64-" + nvidiaVersion + ".run"
	nvidiaSHA256  = "7e95065caa6b82de926110f14827a61972eb12c200e863a29e9fb47866eaa898"
)

// NVIDIA returns NVIDIA's own driver package, or false where its server does
// not answer.
func (l *Lab) NVIDIA(ctx context.Context) (Driver, bool, error) {
	driver := Driver{Version: nvidiaVersion, Real: true}
	if !answers(ctx, nvidiaURL) {
		return driver, false, ctx.Err()
	}
	dir, err := l.part(ctx, "nvidia", nvidiaURL+nvidiaSHA256, func(dir string) error {
		return downloadFile(ctx, nvidiaURL, filepath.Join(dir, filepath.Base(nvidiaURL)), nvidiaSHA256)
	})
	driver.Run = filepath.Join(dir, filepath.Base(nvidiaURL))
	return driver, err == nil, err
}

func answers(ctx context.Context, url string) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodHead, url, nil)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return response.StatusCode == http.StatusOK
}

// downloadFile is [download] for what is too large to hold in memory.
func downloadFile(ctx context.Context, url, path, sum string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	hash := sha256.New()
	if _, err := io.Copy(io.MultiWriter(file, hash), response.Body); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	if got := hex.EncodeToString(hash.Sum(nil)); got != sum {
		return fmt.Errorf("%s: its SHA-256 is %s, not %s", url, got, sum)
	}
	return file.Close()
}
