"""Two PPP interfaces joined by a pair of pseudo-terminals, by the kernel's own requests (ppp_generic.rst): no pppd."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import shutil
import struct
import subprocess
import threading
import tty
from pathlib import Path
from typing import Final

import pytest

from inspector.live.process.namespaces import inside

# asm-generic/ioctls.h, linux/tty.h, linux/ppp-ioctl.h
_SET_DISCIPLINE: Final = 0x5423
_PPP_DISCIPLINE: Final = 3
_GET_CHANNEL: Final = 0x80047437
_ATTACH_CHANNEL: Final = 0x40047438
_CONNECT: Final = 0x4004743A
_NEW_UNIT: Final = 0xC004743E
_SET_RECEIVE_UNIT: Final = 0x40047452


def _number(fd: int, request: int, value: int = 0) -> int:
    return int(struct.unpack("i", fcntl.ioctl(fd, request, struct.pack("i", value)))[0])


def _make_interface(namespace: str, name: str, mtu: int, stack: contextlib.ExitStack) -> int:
    """Make an interface in a namespace; return the descriptor of the terminal at its other side."""
    master, slave = pty.openpty()
    for fd in (master, slave):
        stack.callback(os.close, fd)
    tty.setraw(slave)
    with inside(namespace):
        _number(slave, _SET_DISCIPLINE, _PPP_DISCIPLINE)
        channel, unit = (os.open("/dev/ppp", os.O_RDWR) for _ in range(2))
        for fd in (channel, unit):
            stack.callback(os.close, fd)
        number = _number(unit, _NEW_UNIT, -1)
        _number(channel, _ATTACH_CHANNEL, _number(slave, _GET_CHANNEL))
        _number(channel, _SET_RECEIVE_UNIT, mtu)
        _number(channel, _CONNECT, number)
    for change in (("name", name), ("mtu", str(mtu))):
        which = f"ppp{number}" if change[0] == "name" else name
        subprocess.run(["ip", "-n", namespace, "link", "set", which, *change], check=True)
    return master


def _copy(source: int, sink: int) -> None:
    """Copy a stream until the terminal is closed."""
    with contextlib.suppress(OSError):
        while data := os.read(source, 1 << 16):
            while data:
                data = data[os.write(sink, data) :]


def connect_ppp(here: str, there: str, name: str, mtu: int, stack: contextlib.ExitStack) -> None:
    """Make a PPP interface in each of two namespaces and join them; skip where the kernel has none."""
    # Nobody has made the node of a module which was not loaded yet.
    if shutil.which("modprobe"):
        subprocess.run(["modprobe", "--quiet", "ppp_async"], check=False)
    if not Path("/dev/ppp").exists():
        pytest.skip("this kernel makes no PPP interfaces: there is no /dev/ppp")
    near, far = (_make_interface(namespace, name, mtu, stack) for namespace in (here, there))
    threads = [threading.Thread(target=_copy, args=way, daemon=True) for way in ((near, far), (far, near))]
    for thread in threads:
        thread.start()
