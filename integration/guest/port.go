package main

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// port is a serial port that passes every byte on as it is.
type port struct{ *os.File }

func openPort(name string) (port, error) {
	file, err := os.OpenFile(name, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return port{}, err
	}
	fd := int(file.Fd())
	settings, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err == nil {
		settings.Oflag &^= unix.OPOST
		settings.Cflag |= unix.CLOCAL
		err = unix.IoctlSetTermios(fd, unix.TCSETS, settings)
	}
	if err != nil {
		return port{}, fmt.Errorf("%s: %w", name, err)
	}
	return port{file}, nil
}

// drain waits until the last byte has left: this is tcdrain(3).
func (p port) drain() error { return unix.IoctlSetInt(int(p.Fd()), unix.TCSBRK, 1) }
