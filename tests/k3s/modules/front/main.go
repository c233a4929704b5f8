// Front holds the small programs that the stand-in for K3s needs beside those
// of Kubernetes, in one file:
//
//	front supervise   the TLS listener that K3s has on its port 6443
//	front balance     the agent's local load balancer in front of the servers
//	front pause       what the sandbox container of a pod runs
package main

import (
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	programs := map[string]func([]string) error{"supervise": supervise, "balance": balance, "pause": pause}
	name := "pause" // The image of a sandbox has an entry point without arguments.
	if len(os.Args) > 1 {
		name = os.Args[1]
		os.Args = os.Args[1:]
	}
	program, known := programs[name]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: front supervise|balance|pause")
		os.Exit(2)
	}
	if err := program(os.Args[1:]); err != nil {
		fmt.Fprintf(os.Stderr, "front %s: %v\n", name, err)
		os.Exit(1)
	}
}

// pause ends on a signal and reaps what the pod's containers leave behind.
func pause([]string) error {
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for received := range signals {
		if received != syscall.SIGCHLD {
			return nil
		}
		for {
			pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil)
			if pid <= 0 || err != nil {
				break
			}
		}
	}
	return nil
}
