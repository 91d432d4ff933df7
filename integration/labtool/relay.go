package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// slowNetwork is what lies between a server and who asks it.
type slowNetwork struct {
	server string // HOST:PORT
	// rate is how many bytes a second each connection brings, and cut after how many it
	// breaks off; that is of what the server says.
	rate, cut int64
}

// relay passes connections on, on a port of its own on 127.0.0.1, until the context ends.
// It prints its base URL as one line on out once it listens.
func (s slowNetwork) relay(ctx context.Context, out io.Writer) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer context.AfterFunc(ctx, func() { listener.Close() })()
	fmt.Fprintf(out, "http://%s\n", listener.Addr())
	for {
		client, err := listener.Accept()
		if err != nil {
			return context.Cause(ctx)
		}
		go s.pass(client.(*net.TCPConn))
	}
}

// pass passes one connection on, to its end or the network's.
func (s slowNetwork) pass(client *net.TCPConn) {
	defer client.Close()
	server, err := net.Dial("tcp", s.server)
	if err != nil {
		return
	}
	defer server.Close()
	var asking sync.WaitGroup
	asking.Go(func() {
		_, _ = io.Copy(server, client)
		server.(*net.TCPConn).CloseWrite()
	})
	const ticks = 20 // a second
	passed := int64(0)
	for passed < s.cut {
		n, err := io.CopyN(client, server, min(s.rate/ticks, s.cut-passed))
		passed += n
		if err != nil {
			client.CloseWrite()
			asking.Wait()
			return
		}
		time.Sleep(time.Second / ticks)
	}
	client.SetLinger(0) // the other side learns it as a reset
}
