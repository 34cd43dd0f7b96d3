"""
A file system in user space, without libraries, for tests: its server can be stopped, and then its mount hangs.

``python fuse.py DIRECTORY`` mounts an empty file system on DIRECTORY and serves it from memory until it is killed. The
kernel ends all waiting calls as soon as the server is dead, stopped or not. The server dies with the process that
started it, and another process unmounts the directory then, so that no test leaves a mount that hangs.
"""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import stat
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_LARGEST = 1 << 17


@dataclass
class HungMount:
    """A mounted file system whose server can be stopped."""

    path: Path
    server: subprocess.Popen[bytes]

    def stop(self) -> None:
        """
        From now on every call on the mount hangs. The server answers its last request before. A process cannot be
        killed while it waits for the answer to a request that the server has read.
        """
        self.server.send_signal(signal.SIGUSR1)
        os.waitid(os.P_PID, self.server.pid, os.WSTOPPED | os.WNOWAIT)

    def go_on(self) -> None:
        """The mount answers again, also the calls that hang."""
        self.server.send_signal(signal.SIGCONT)

    def end(self) -> None:
        self.server.kill()
        self.server.wait()
        ctypes.CDLL(None).umount2(os.fsencode(self.path), _MNT_DETACH)


def why_not() -> str:
    """Why no file system can be mounted here; "" if it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "mounting needs root on Linux"
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR))
    except OSError as exc:
        return f"/dev/fuse: {exc.strerror}"
    return ""


@contextmanager
def mounted(path: Path) -> Iterator[HungMount]:
    """Mount an empty file system on *path* for a block."""
    path.mkdir(parents=True, exist_ok=True)
    server = subprocess.Popen([sys.executable, "-S", __file__, str(path)], stdout=subprocess.PIPE)
    mount = HungMount(path, server)
    try:
        assert server.stdout is not None
        assert server.stdout.readline() == b"mounted\n"
        yield mount
    finally:
        mount.end()
        assert server.stdout is not None
        server.stdout.close()


# -- the server


@dataclass
class Node:
    ino: int
    mode: int
    uid: int = 0
    gid: int = 0
    parent: int = 1
    data: bytearray = field(default_factory=bytearray)
    entries: dict[bytes, int] = field(default_factory=dict)
    links: int = 1
    changed: int = field(default_factory=time.time_ns)


class Server:
    """The requests of include/uapi/linux/fuse.h that Tempfleet causes."""

    def __init__(self, device: int) -> None:
        self.device = device
        self.is_busy = self.is_to_stop = False
        signal.signal(signal.SIGUSR1, self.stop)
        self.nodes = {1: Node(1, stat.S_IFDIR | 0o755)}
        self.handlers = {
            1: self.lookup,
            3: self.getattr,
            4: self.setattr,
            9: self.mkdir,
            10: self.unlink,
            11: self.unlink,
            12: self.rename,
            45: self.rename2,
            14: self.opened,
            15: self.read,
            16: self.write,
            17: self.statfs,
            18: self.nothing,
            20: self.nothing,
            # Not 25, FLUSH: the kernel sends it at the end of a process, and lets the process wait for the answer.
            26: self.init,
            27: self.opened,
            28: self.readdir,
            29: self.nothing,
            30: self.nothing,
            35: self.create,
        }

    def stop(self, *_signal):
        self.is_to_stop = self.is_busy
        if not self.is_busy:
            os.kill(os.getpid(), signal.SIGSTOP)

    def serve(self) -> None:
        while True:
            self.is_busy = False
            if self.is_to_stop:
                self.stop()
            try:
                request = os.read(self.device, _LARGEST + 4096)
                self.is_busy = True
            except OSError as exc:
                if exc.errno in (errno.ENOENT, errno.EINTR):
                    continue
                return
            _, opcode, unique, node, uid, gid, _, _ = struct.unpack_from("=IIQQIIII", request)
            if opcode in (2, 42, 36):  # FORGET, BATCH_FORGET, INTERRUPT have no answer
                continue
            handler = self.handlers.get(opcode)
            code, body = 0, b""
            try:
                if handler is None:
                    raise OSError(errno.ENOSYS, "")
                body = handler(self.nodes.get(node), request[40:], uid, gid)
            except OSError as exc:
                code = exc.errno or errno.EIO
            try:
                os.write(self.device, struct.pack("=IiQ", 16 + len(body), -code, unique) + body)
            except FileNotFoundError:
                pass  # its caller was killed

    def init(self, _node, body, _uid, _gid):
        _major, _minor, readahead, _flags = struct.unpack_from("=IIII", body)
        flags = 1 << 5  # BIG_WRITES
        return struct.pack(
            "=IIIIHHIIHHIIHH24x", 7, 31, readahead, flags, 12, 9, _LARGEST, 1, 32, 0, 0, 0, 0, 0
        )[:64]

    def attributes(self, node):
        seconds, rest = divmod(node.changed, 1_000_000_000)
        size = len(node.data)
        return struct.pack(
            "=QQQQQQIIIIIIIIII",
            node.ino,
            size,
            -(-size // 512),
            seconds,
            seconds,
            seconds,
            rest,
            rest,
            rest,
            node.mode,
            node.links,
            node.uid,
            node.gid,
            0,
            4096,
            0,
        )

    def entry(self, node):
        return struct.pack("=QQQQII", node.ino, 0, 0, 0, 0, 0) + self.attributes(node)

    def find(self, node, name):
        if node is None or name not in node.entries:
            raise OSError(errno.ENOENT, "")
        return self.nodes[node.entries[name]]

    def lookup(self, node, body, _uid, _gid):
        return self.entry(self.find(node, body.rstrip(b"\0")))

    def getattr(self, node, _body, _uid, _gid):
        return struct.pack("=QII", 0, 0, 0) + self.attributes(node)

    def setattr(self, node, body, uid, gid):
        valid, _, _, size = struct.unpack_from("=IIQQ", body)
        mode, _, owner, group = struct.unpack_from("=IIII", body, 68)
        if valid & 1:
            node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        if valid & 2:
            node.uid = owner
        if valid & 4:
            node.gid = group
        if valid & 8:
            node.data = node.data[:size].ljust(size, b"\0")
        node.changed = time.time_ns()
        return self.getattr(node, body, uid, gid)

    def make(self, parent, name, mode, uid, gid):
        if name in parent.entries:
            raise OSError(errno.EEXIST, "")
        node = Node(max(self.nodes) + 1, mode, uid, gid, parent.ino)
        self.nodes[node.ino] = node
        parent.entries[name] = node.ino
        return node

    def mkdir(self, node, body, uid, gid):
        mode, umask = struct.unpack_from("=II", body)
        return self.entry(self.make(node, body[8:].rstrip(b"\0"), stat.S_IFDIR | mode & ~umask, uid, gid))

    def create(self, node, body, uid, gid):
        _, mode, umask, _ = struct.unpack_from("=IIII", body)
        made = self.make(node, body[16:].rstrip(b"\0"), stat.S_IFREG | stat.S_IMODE(mode) & ~umask, uid, gid)
        return self.entry(made) + struct.pack("=QII", 0, 0, 0)

    def unlink(self, node, body, _uid, _gid):
        name = body.rstrip(b"\0")
        found = self.find(node, name)
        if found.entries:
            raise OSError(errno.ENOTEMPTY, "")
        del node.entries[name]
        found.links -= 1
        return b""

    def rename(self, node, body, _uid, _gid):
        return self._rename(node, struct.unpack_from("=Q", body)[0], body[8:], 0)

    def rename2(self, node, body, _uid, _gid):
        target, flags, _ = struct.unpack_from("=QII", body)
        return self._rename(node, target, body[16:], flags)

    def _rename(self, node, target, names, flags):
        old, new = names.split(b"\0")[:2]
        found, directory = self.find(node, old), self.nodes[target]
        if flags & ~1:
            raise OSError(errno.EINVAL, "")
        if flags & 1 and new in directory.entries:
            raise OSError(errno.EEXIST, "")
        del node.entries[old]
        directory.entries[new] = found.ino
        return b""

    def opened(self, _node, _body, _uid, _gid):
        return struct.pack("=QII", 0, 0, 0)

    def read(self, node, body, _uid, _gid):
        _, offset, size = struct.unpack_from("=QQI", body)
        return bytes(node.data[offset : offset + size])

    def write(self, node, body, _uid, _gid):
        _, offset, size = struct.unpack_from("=QQI", body)
        node.data[offset : offset + size] = body[40 : 40 + size]
        return struct.pack("=II", size, 0)

    def statfs(self, _node, _body, _uid, _gid):
        return struct.pack("=QQQQQIII28x", 1 << 20, 1 << 19, 1 << 19, 1 << 20, 1 << 19, 4096, 255, 4096)

    def nothing(self, _node, _body, _uid, _gid):
        return b""

    def readdir(self, node, body, _uid, _gid):
        _, offset, size = struct.unpack_from("=QQI", body)
        listing = b""
        for place, (name, ino) in enumerate(list(node.entries.items())[offset:], offset + 1):
            kind = stat.S_IFMT(self.nodes[ino].mode) >> 12
            entry = struct.pack("=QQII", ino, place, len(name), kind) + name
            entry += bytes(-len(entry) % 8)
            if len(listing) + len(entry) > size:
                break
            listing += entry
        return listing


def main(directory: str) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    library.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    device = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions"
    if library.mount(b"tempfleet-test", os.fsencode(directory), b"fuse", 6, options.encode()):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    server = Server(device)
    _unmount_at_the_end(library, device, directory)
    sys.stdout.write("mounted\n")
    sys.stdout.flush()
    server.serve()


def _unmount_at_the_end(library: ctypes.CDLL, device: int, directory: str) -> None:
    """Start a process that unmounts *directory* as soon as this one is dead, however it ends."""
    ended, _alive = os.pipe()
    if os.fork():
        os.close(ended)
        return
    os.setsid()
    for fd in (device, _alive, 1, 2):
        os.close(fd)
    os.read(ended, 1)
    library.umount2(os.fsencode(directory), _MNT_DETACH)
    os._exit(0)


if __name__ == "__main__":
    main(sys.argv[1])
