package main

import (
	"errors"
	"strings"

	"golang.org/x/sys/unix"
)

// kernelLog reads /dev/kmsg, whose every read(2) is a record
// "PRIORITY,SEQUENCE,TIME,FLAGS;TEXT\n KEY=VALUE\n…".
type kernelLog struct{ fd int }

func openLog() (kernelLog, error) {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	return kernelLog{fd}, err
}

// lines returns the texts of the records that came since it was last called.
func (k kernelLog) lines() []string {
	var lines []string
	record := make([]byte, 16<<10)
	for {
		n, err := unix.Read(k.fd, record)
		switch {
		case errors.Is(err, unix.EPIPE), errors.Is(err, unix.EINTR): // EPIPE: older ones are overwritten
			continue
		case err != nil || n <= 0:
			return lines
		}
		_, text, _ := strings.Cut(string(record[:n]), ";")
		text, _, _ = strings.Cut(text, "\n")
		lines = append(lines, text)
	}
}
