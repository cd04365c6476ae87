// SPDX-License-Identifier: GPL-2.0

// A program on cilium/ebpf: every call of it that takes a map, with what it returns, one a
// line. test-clients compares the lines of two kernels.
//
// usage: ebpf-client BALANCER.bpf.o
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
)

const (
	port       = 2056
	slots      = 4
	reuseport  = 15
	attachEBPF = 52
	enotsupp   = syscall.Errno(524) // of the kernel; not a name for programs
	pin        = "/sys/fs/bpf/ebpf-client"
)

var failed bool

func tell(what string, err error) {
	var errno syscall.Errno
	switch {
	case err == nil:
		fmt.Printf("%s: ok\n", what)
	case errors.Is(err, enotsupp):
		fmt.Printf("%s: ENOTSUPP\n", what)
	case errors.Is(err, ebpf.ErrKeyNotExist), errors.Is(err, ebpf.ErrKeyExist),
		errors.Is(err, ebpf.ErrNotSupported):
		fmt.Printf("%s: %v\n", what, err)
	case errors.As(err, &errno):
		fmt.Printf("%s: errno %d\n", what, int(errno))
	default:
		fmt.Printf("%s: %v\n", what, err)
	}
}

// What must be so on every kernel, for the rest to mean anything.
func expect(what string, met bool) {
	answer := "yes"
	if !met {
		answer, failed = "NO", true
	}
	fmt.Printf("%s: %s\n", what, answer)
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func server() int {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM|syscall.SOCK_NONBLOCK, 0)
	must(err)
	must(syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, reuseport, 1))
	must(syscall.Bind(fd, &syscall.SockaddrInet4{Port: port}))
	return fd
}

func calls(m *ebpf.Map, fds []int) {
	var cookie uint64
	tell("put", m.Put(uint32(1), uint64(fds[1])))
	tell("update, no exist", m.Update(uint32(1), uint64(fds[2]), ebpf.UpdateNoExist))
	tell("update, exist", m.Update(uint32(0), uint64(fds[2]), ebpf.UpdateExist))
	tell("update, lock", m.Update(uint32(0), uint64(fds[2]), ebpf.UpdateLock))
	tell("same socket again", m.Put(uint32(2), uint64(fds[1])))
	tell("index too large", m.Put(uint32(slots), uint64(fds[2])))
	tell("no socket", m.Put(uint32(0), uint64(m.FD())))
	expect("lookup", m.Lookup(uint32(1), &cookie) == nil && cookie != 0)
	tell("lookup, empty", m.Lookup(uint32(0), &cookie))
	tell("lookup and delete", m.LookupAndDelete(uint32(1), &cookie))

	var key uint32
	seen := 0
	entries := m.Iterate()
	for entries.Next(&key, &cookie) {
		fmt.Printf("iterate: slot %d, a cookie: %v\n", key, cookie != 0)
		seen++
	}
	tell("iterate", entries.Err())
	expect("iterate sees the one filled slot", seen == 1)

	expect("delete", m.Delete(uint32(1)) == nil)
	tell("delete, empty", m.Delete(uint32(1)))
	tell("next key", m.NextKey(uint32(1), &key))
}

func batches(m *ebpf.Map, fds []int) {
	keys, values := []uint32{0, 1, 2, 3}, make([]uint64, slots)
	for i, fd := range fds {
		values[i] = uint64(fd)
	}
	count, err := m.BatchUpdate(keys, values, nil)
	tell("batch update", err)
	fmt.Println("batch update, count:", count)

	var next uint32
	found, cookies := make([]uint32, slots+1), make([]uint64, slots+1)
	count, err = m.BatchLookup(nil, &next, found, cookies, nil)
	tell("batch lookup", err)
	fmt.Println("batch lookup, count:", count)
	_, err = m.BatchLookupAndDelete(nil, &next, found, cookies, nil)
	tell("batch lookup and delete", err)
	count, err = m.BatchDelete(keys, nil)
	tell("batch delete", err)
	fmt.Println("batch delete, count:", count)
}

func describe(m *ebpf.Map) {
	info, err := m.Info()
	must(err)
	fmt.Printf("info: %v, key %d, value %d, entries %d, flags %d, name %q\n", info.Type,
		info.KeySize, info.ValueSize, info.MaxEntries, info.Flags, info.Name)
	tell("pin", m.Pin(pin))
	again, err := ebpf.LoadPinnedMap(pin, nil)
	tell("load the pin", err)
	if err == nil {
		again.Close()
	}
	clone, err := m.Clone()
	tell("clone", err)
	if err == nil {
		clone.Close()
	}
	tell("unpin", m.Unpin())
	tell("freeze", m.Freeze())
}

// Datagrams that name each slot; who gets them?
func steer(object string, fds []int) {
	options := ebpf.CollectionOptions{Maps: ebpf.MapOptions{PinPath: "/sys/fs/bpf"}}
	spec, err := ebpf.LoadCollectionSpec(object)
	must(err)
	coll, err := ebpf.NewCollectionWithOptions(spec, options)
	must(err)
	defer coll.Close()
	targets := coll.Maps["udp_balancing_targets"]
	defer targets.Unpin()
	must(syscall.SetsockoptInt(fds[0], syscall.SOL_SOCKET, attachEBPF,
		coll.Programs["_selector"].FD()))
	for slot := 0; slot < slots-1; slot++ {
		must(targets.Update(uint32(slot), uint64(fds[slots-1-slot]), ebpf.UpdateNoExist))
	}
	client, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_DGRAM, 0)
	must(err)
	for slot := 0; slot <= slots; slot++ {
		datagram := make([]byte, 24)
		binary.BigEndian.PutUint32(datagram[16:], uint32(slot))
		to := &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
		must(syscall.Sendto(client, datagram, 0, to))
		fmt.Printf("datagram for slot %d:", slot)
		for i, fd := range fds {
			if n, _, err := syscall.Recvfrom(fd, datagram, 0); err == nil && n > 0 {
				fmt.Printf(" socket %d", i)
			}
		}
		fmt.Println()
	}
}

func main() {
	if len(os.Args) != 2 {
		os.Exit(2)
	}
	must(rlimit.RemoveMemlock())
	tell("feature probe", features.HaveMapType(ebpf.ReusePortSockArray))
	for _, size := range []uint32{4, 8, 2} {
		m, err := ebpf.NewMap(&ebpf.MapSpec{Name: "created", Type: ebpf.ReusePortSockArray,
			KeySize: 4, ValueSize: size, MaxEntries: slots})
		tell(fmt.Sprintf("create, value %d", size), err)
		if err == nil {
			m.Close()
		}
	}
	inner := &ebpf.MapSpec{Type: ebpf.ReusePortSockArray, KeySize: 4, ValueSize: 8, MaxEntries: slots}
	outer, err := ebpf.NewMap(&ebpf.MapSpec{Type: ebpf.ArrayOfMaps, KeySize: 4, ValueSize: 4,
		MaxEntries: 1, InnerMap: inner})
	tell("a map in a map", err)
	m, err := ebpf.NewMap(inner)
	must(err)
	expect("put into the outer map", outer.Put(uint32(0), m) == nil)

	fds := make([]int, slots)
	for i := range fds {
		fds[i] = server()
	}
	calls(m, fds)
	batches(m, fds)
	steer(os.Args[1], fds)
	describe(m)
	if failed {
		os.Exit(1)
	}
}
