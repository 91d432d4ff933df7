// Command fabricmanager stands in for NVIDIA's nv-fabricmanager, which cannot be had
// without its machines: it takes the same configuration, opens the same device files,
// and says what that says (NVIDIA's Fabric Manager User Guide, and journals that people
// have published). What /run/fabricmanager.standin has is what it does instead:
// "crash" as soon as that is there, "refuse" as one of another version does, or "hang"
// before it has configured the switches, for as long as that is there.
package main

import (
	"bufio"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	if len(os.Args) != 3 || os.Args[1] != "-c" {
		return fmt.Errorf("usage: nv-fabricmanager -c FILE")
	}
	config, err := read(os.Args[2])
	if err != nil {
		return err
	}
	if config["DAEMONIZE"] != "0" || config["LOG_FILE_NAME"] != "" {
		return fmt.Errorf("the stand-in stays in the foreground and logs to stderr: %v", config)
	}
	topologies, err := filepath.Glob(filepath.Join(config["TOPOLOGY_FILE_PATH"], "*_topology"))
	if err != nil || len(topologies) == 0 {
		return fmt.Errorf("failed to find any topology file in %s", config["TOPOLOGY_FILE_PATH"])
	}
	instead := func() string {
		text, _ := os.ReadFile(os.Getenv("HOME") + "run/fabricmanager.standin") // not there: nothing
		return strings.TrimSpace(string(text))
	}
	if instead() == "refuse" {
		return fmt.Errorf("fabric manager NVIDIA GPU driver interface version 990.10 don't match with driver version 990.20. Please update with matching NVIDIA driver package")
	}
	switches, err := filepath.Glob("/dev/nvidia-nvswitch[0-9]*")
	if err != nil || len(switches) == 0 {
		return fmt.Errorf("request to query NVSwitch device information from NVSwitch driver failed with error:WARNING Nothing to do [NV_WARN_NOTHING_TO_DO]")
	}
	for _, name := range append(switches, "/dev/nvidia-nvswitchctl", "/dev/nvidiactl") {
		file, err := os.OpenFile(name, os.O_RDWR, 0)
		if err != nil {
			return fmt.Errorf("failed to open %w", err)
		}
		defer file.Close()
	}
	fmt.Println("Connected to 1 node.")
	for instead() == "hang" {
		time.Sleep(20 * time.Millisecond)
	}
	fmt.Println("Successfully configured all the available NVSwitches to route GPU NVLink traffic. NVLink Peer-to-Peer support will be enabled once the GPUs are successfully registered with the NVLink fabric.")
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	for {
		select {
		case <-ended:
			fmt.Println("received signal SIGTERM, stand-in ends")
			return nil
		case <-time.After(20 * time.Millisecond):
			if instead() == "crash" {
				return fmt.Errorf("fatal error: the stand-in crashes")
			}
		}
	}
}

// read reads NAME=VALUE lines.
func read(name string) (map[string]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	values := map[string]string{}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if name, value, ok := strings.Cut(lines.Text(), "="); ok && !strings.HasPrefix(name, "#") {
			values[name] = value
		}
	}
	return values, lines.Err()
}
