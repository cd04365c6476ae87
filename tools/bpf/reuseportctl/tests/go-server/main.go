// SPDX-License-Identifier: GPL-2.0

// A server of the kind that Go 1.24 makes by default: its listeners are MPTCP sockets.
// It answers each connection with NAME until SIGTERM.
//
// usage: go-server serve LISTENERS ADDRESS PORT NAME
package main

import (
	"errors"
	"log"
	"net"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
)

const soReusePort = 15

func serve(listener net.Listener, name string) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			log.Fatal(err)
		}
		conn.Write([]byte(name))
		conn.Close()
	}
}

func main() {
	if len(os.Args) != 6 {
		log.Fatal("usage: go-server serve LISTENERS ADDRESS PORT NAME")
	}
	count, _ := strconv.Atoi(os.Args[2])
	port, _ := strconv.Atoi(os.Args[4])

	var listeners []net.Listener
	var servers sync.WaitGroup
	for i := 0; i < count; i++ {
		listener, err := listen(os.Args[3], port)
		if err != nil {
			log.Fatal(err)
		}
		listeners = append(listeners, listener)
		servers.Add(1)
		go func() {
			serve(listener, os.Args[5])
			servers.Done()
		}()
	}

	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	<-stop
	for _, listener := range listeners {
		listener.Close()
	}
	servers.Wait()
}
