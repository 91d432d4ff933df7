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
	mu       sync.Mutex // guards what follows
	ended    sync.Cond  // of one of those that are open
	open     int        // connections that were accepted and have not ended
	passed   int64      // bytes of those that have ended
}

// newRelay listens on 127.0.0.1 for a server at HOST:PORT.
func newRelay(server string) (*relay, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &relay{listener: listener, server: server}
	r.ended.L = &r.mu
	go r.accept()
	return r, nil
}

func (r *relay) url() string { return "http://" + r.listener.Addr().String() }

// bytes is what has gone through. It is exact once the client's process has
// ended and its connections with it.
func (r *relay) bytes() float64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	for r.open > 0 {
		r.ended.Wait()
	}
	return float64(r.passed)
}

func (r *relay) close() { r.listener.Close() }

func (r *relay) accept() {
	for {
		client, err := r.listener.Accept()
		if err != nil {
			return // closed
		}
		r.begin()
		go func() {
			defer client.Close()
			r.end(r.pass(client))
		}()
	}
}

func (r *relay) begin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open++
}

func (r *relay) end(passed int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open--
	r.passed += passed
	r.ended.Broadcast()
}

// pass passes one connection on to its end, and returns the bytes of both ways.
func (r *relay) pass(client net.Conn) int64 {
	server, err := net.Dial("tcp", r.server)
	if err != nil {
		return 0
	}
	defer server.Close()
	var passed atomic.Int64
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		both.Go(func() {
			n, _ := io.Copy(way[1], way[0])
			passed.Add(n)
			// The other side learns of the end, and may still have words.
			way[1].(*net.TCPConn).CloseWrite()
		})
	}
	both.Wait()
	return passed.Load()
}
