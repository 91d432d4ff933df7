package main

import (
	"io"
	"net"
	"sync"
	"sync/atomic"
)

// relay passes connections on to a server and counts what goes through, in both
// directions: what a network card in front of the server would count, without
// the headers of TCP and IP.
type relay struct {
	listener net.Listener
	server   string
	passed   atomic.Int64
	open     sync.WaitGroup
}

// newRelay listens on 127.0.0.1 for a server at HOST:PORT.
func newRelay(server string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, server: server}
	go r.accept()
	return r, nil
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

// bytes is what has gone through. It is exact once the client's process has
// ended and its connections with it.
func (r *relay) bytes() float64 {
	r.open.Wait()
	return float64(r.passed.Load())
}

func (r *relay) close() { r.listener.Close() }

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.open.Add(1)
		go func() {
			defer r.open.Done()
			defer client.Close()
			r.pass(client)
		}()
	}
}

func (r *relay) pass(client net.Conn) {
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return
	}
	defer server.Close()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			n, _ := io.Copy(way[1], way[0])
			r.passed.Add(n)
			// The other side learns of the end, and may still have words.
			way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
}
