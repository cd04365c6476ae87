// SPDX-License-Identifier: GPL-2.0

//go:build !go1.21

package main

import (
	"net"
	"os"
	"syscall"
)

const ipprotoMPTCP = 262

// What SetMultipathTCP() makes of a listener since Go 1.21.
func listen(address string, port int) (net.Listener, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC,
		ipprotoMPTCP)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()

	at := &syscall.SockaddrInet4{Port: port}
	copy(at.Addr[:], net.ParseIP(address).To4())
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, soReusePort, 1); err != nil {
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, at); err != nil {
		return nil, os.NewSyscallError("bind", err)
	}
	if err := syscall.Listen(fd, 128); err != nil {
		return nil, os.NewSyscallError("listen", err)
	}
	return net.FileListener(file)
}
