// SPDX-License-Identifier: Apache-2.0

// mptcp PORT: what mptcp.py is, in Go. The socket is made by hand, because a Go older than 1.21
// cannot be asked for MPTCP; a newer one makes the same calls by itself.
package main

import (
	"net"
	"net/http"
	"os"
	"strconv"
	"syscall"
)

const ipprotoMPTCP = 262

func listen(port int) (net.Listener, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, ipprotoMPTCP)
	if err != nil {
		return net.Listen("tcp4", ":"+strconv.Itoa(port))
	}
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		return nil, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: port}); err != nil {
		return nil, err
	}
	if err := syscall.Listen(fd, 128); err != nil {
		return nil, err
	}
	return net.FileListener(os.NewFile(uintptr(fd), "listener"))
}

func main() {
	port, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	listener, err := listen(port)
	if err != nil {
		panic(err)
	}
	panic(http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Served-By", os.Getenv("IPOS_SERVER"))
		w.Write([]byte("ok\n"))
	})))
}
