"""Which process is at the other end of a connection from this host.

A connection that does not leave the host has a socket at each end, and the kernel knows the inode
of the peer's end: sock_diag(7) looks up one TCP socket by addresses and ports, takes some 10 µs and
needs no privilege. /proc/PID/fd has the sockets of a process of the same user, as `socket:[inode]`
(proc(5)). Of a Unix socket the kernel says itself who has connected.

A look into /proc costs some 6 µs a descriptor, so at most `MAX_DESCRIPTORS` of a process are looked
at: those with the lowest numbers. A client's connection is among them, because a new descriptor
gets the lowest free number (open(2)), unless that many were open before.

Linux only. If the kernel does not answer, or a process is not readable, the peer is unknown.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from stat import S_ISSOCK
from typing import Final, NamedTuple

MAX_DESCRIPTORS: Final = 128
"""How many descriptors of one process are looked at."""
MAX_LATE_ANSWERS: Final = 16
"""How many late answers to earlier requests are skipped on the way to the answer to this one."""

_NETLINK_SOCK_DIAG: Final = 4
_SOCK_DIAG_BY_FAMILY: Final = 20
_NLM_F_REQUEST: Final = 1
_ANY_STATE: Final = 0xFFFFFFFF
_NO_COOKIE: Final = 2**64 - 1
_ADDRESS_BYTES: Final = 16
_ANSWER_BYTES: Final = 4096

# linux/netlink.h: nlmsghdr. linux/inet_diag.h: inet_diag_req_v2, inet_diag_sockid, inet_diag_msg.
_HEADER: Final = struct.Struct("=IHHII")
_REQUEST: Final = struct.Struct("=BBBxI")
_PORTS: Final = struct.Struct("!HH")
_INTERFACE_AND_COOKIE: Final = struct.Struct("=IQ")
_INODE: Final = struct.Struct("=I")
_INODE_AT: Final = 84
"""The offset of the inode in an answer: it follows the header (16 bytes), four bytes, the socket's
identity (48), and expires, rqueue, wqueue and uid of four bytes each."""
_CREDENTIALS: Final = struct.Struct("=iII")
"""ucred of unix(7)."""


class Credentials(NamedTuple):
    """The process at the other end of a Unix socket, as it was when it connected."""

    pid: int
    uid: int
    gid: int


def credentials(sock: socket.socket) -> Credentials:
    """Return who connected to a Unix socket. The kernel says it: no process can pretend."""
    ucred = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    return Credentials(*_CREDENTIALS.unpack(ucred))


def connected_from(socks: Iterable[socket.socket], pids: Iterable[int]) -> list[socket.socket]:
    """Return those sockets whose other end belongs to one of these processes.

    Takes some 10 µs a socket, and up to 0.8 ms a process.
    """
    socks, pids = list(socks), list(pids)
    unix = [sock for sock in socks if sock.family == socket.AF_UNIX]
    found_unix = [sock for sock in unix if credentials(sock).pid in pids]
    by_inode = _by_peers_inode(sock for sock in socks if sock.family != socket.AF_UNIX)
    found = set[int]()
    for pid in pids:
        if len(found) == len(by_inode):
            break
        found |= by_inode.keys() & set(_inodes_of(pid))
    return found_unix + [sock for inode, sock in by_inode.items() if inode in found]


def _by_peers_inode(socks: Iterable[socket.socket]) -> dict[int, socket.socket]:
    """Return the sockets by the inode of their other end, if that is on this host."""
    by_inode = {}
    with suppress(OSError), _open_netlink() as netlink:
        for number, sock in enumerate(socks, start=1):
            with suppress(OSError):  # it is disconnected, or the kernel does not answer
                if inode := _peers_inode(netlink, sock, number):
                    by_inode[inode] = sock
    return by_inode


def _open_netlink() -> socket.socket:
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, _NETLINK_SOCK_DIAG)
    netlink.setblocking(False)  # the answer is there when the request is sent
    return netlink


def _peers_inode(netlink: socket.socket, sock: socket.socket, number: int) -> int:
    """Return the inode of the peer's socket; 0 if it has been closed or is not on this host.

    `number` identifies the request; it must be unique on this netlink socket.
    """
    peer, ours = sock.getpeername(), sock.getsockname()
    identity = (
        _PORTS.pack(peer[1], ours[1])
        + _packed(sock.family, peer[0])
        + _packed(sock.family, ours[0])
        + _INTERFACE_AND_COOKIE.pack(0, _NO_COOKIE)
    )
    request = _REQUEST.pack(sock.family, socket.IPPROTO_TCP, 0, _ANY_STATE) + identity
    size = _HEADER.size + len(request)
    netlink.send(_HEADER.pack(size, _SOCK_DIAG_BY_FAMILY, _NLM_F_REQUEST, number, 0) + request)
    for _ in range(MAX_LATE_ANSWERS + 1):
        answer = netlink.recv(_ANSWER_BYTES)
        _, kind, _, answered, _ = _HEADER.unpack_from(answer)
        if answered != number:
            continue  # the late answer to an earlier request
        if kind != _SOCK_DIAG_BY_FAMILY:  # mostly: there is no such socket
            return 0
        inode: int = _INODE.unpack_from(answer, _INODE_AT)[0]
        return inode
    return 0


def _packed(family: int, address: str) -> bytes:
    return socket.inet_pton(family, address).ljust(_ADDRESS_BYTES, b"\0")


def _inodes_of(pid: int) -> Iterator[int]:
    """Yield the inodes of a process's sockets: none if it has ended or is another user's."""
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
        for descriptor in islice(descriptors, MAX_DESCRIPTORS):
            with suppress(OSError):  # closed meanwhile
                file = descriptor.stat()
                if S_ISSOCK(file.st_mode):
                    yield file.st_ino
