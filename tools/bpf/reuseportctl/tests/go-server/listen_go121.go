// SPDX-License-Identifier: GPL-2.0

//go:build go1.21

package main

import (
	"context"
	"net"
	"strconv"
	"syscall"
)

func listen(address string, port int) (net.Listener, error) {
	config := net.ListenConfig{
		Control: func(_, _ string, conn syscall.RawConn) (err error) {
			conn.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, soReusePort, 1)
			})
			return err
		},
	}
	config.SetMultipathTCP(true)
	return config.Listen(context.Background(), "tcp4",
		net.JoinHostPort(address, strconv.Itoa(port)))
}
