"""The interfaces of an inspection, by the names which the operator gave them, and what is attached there."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from inspector.live.attach.attachment import attach
from inspector.live.bpf import syscalls
from inspector.live.bpf.options import pack_options
from inspector.record import OPTIONS_DTYPE

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from inspector.live.attach.attachment import Attached, Attachment
    from inspector.live.attach.devices import Device
    from inspector.live.bpf.loader import Program
    from inspector.model import Mode

# In the place of an interface which is not there.
_VACANT: Final = 0
# Indexes whose names are kept, since records and connections may still carry them after the interface has gone.
_NAMES: Final = 256


@dataclass(frozen=True, slots=True)
class InterfaceState:
    """How one interface stands: `name` is the operator's, `index` that of the interface which has it, or had it last.

    `since_ns` (nanoseconds since 1970) is when it came to be so; `explanation` says how the program is attached, or
    why it is not.
    """

    name: str
    index: int
    netns: str | None
    attachment: Attachment | None
    since_ns: int
    explanation: str
    reattachments: int = 0


class Attachments:
    """One program on several interfaces, each with a number: its place in `states`, and in the kernel's counters.

    `names` maps interface indexes to the operator's names. After `attach_all` other interfaces may take the places
    of those that have gone, from one thread; `states` and `names` may be read from any.
    """

    def __init__(
        self,
        program: Program,
        devices: Sequence[Device],
        *,
        ports: Collection[int] = (),
        mode: Mode = "auto",
        netns: str | None = None,
        tcx: bool = True,
    ) -> None:
        self.netns = netns
        self._program = program
        self._mode = mode
        self._tcx = tcx
        self._ports = ports
        self._attached: list[Attached | None] = [None] * len(devices)
        self._indexes = [device.index for device in devices]
        # Two threads write options; `attach` must not succeed after `close`.
        self._lock = threading.Lock()
        self._closed = False
        self.names = {device.index: device.name for device in devices}
        # Indexes that belonged to another name; removed once something is attached to them.
        self._taken_over: set[int] = set()
        self.states = tuple(
            InterfaceState(device.name, device.index, netns, None, time.time_ns(), "not attached yet")
            for device in devices
        )

    def attach_all(self, devices: Sequence[Device]) -> None:
        """Attach to the interfaces of `__init__`, in the calling thread's namespace; errors as of `attach.attach`."""
        self._write_options()
        for number, device in enumerate(devices):
            self.attach(number, device)

    def attach(self, number: int, device: Device) -> bool:
        """Attach to the interface which has a place's name now; errors as of `attach.attach`.

        Returns whether its index had belonged to another name.
        """
        self._name(device.index, self.states[number].name)
        self._set(number, index=device.index)
        self._enter(number, device.index)
        try:
            attached = attach(device, self._program, self._mode, self.netns, tcx=self._tcx)
        except BaseException:
            self._enter(number, _VACANT)
            raise
        takes_over = device.index in self._taken_over
        self._taken_over.discard(device.index)
        with self._lock:
            if self._closed:
                attached.close()
                return takes_over
            self._attached[number] = attached
        made = attached.attachment
        self._set(number, attachment=made, since_ns=time.time_ns(), explanation=made.explanation)
        return takes_over

    def detach(self, number: int, explanation: str) -> None:
        """Take the program off an interface, if it is still there; its place stays."""
        attached, self._attached[number] = self._attached[number], None
        self._set(number, attachment=None, since_ns=time.time_ns(), explanation=explanation)
        if attached is not None:
            attached.close()
        # Its old index may be another interface's soon.
        self._enter(number, _VACANT)

    def explain(self, number: int, explanation: str) -> None:
        """Replace the reason why an interface has no program."""
        self._set(number, explanation=explanation)

    def count_reattachment(self, number: int) -> None:
        """Count that an interface has the program again."""
        self._set(number, reattachments=self.states[number].reattachments + 1)

    def alive(self, number: int) -> bool:
        """Return whether the kernel has the program on an interface, in all directions, wherever that may be now."""
        attached = self._attached[number]
        return attached is not None and all(link.alive() for link in attached.links)

    def set_ports(self, ports: Collection[int]) -> None:
        """Serve other ports from now on."""
        self._ports = ports
        self._write_options()

    def close(self) -> None:
        """Detach from all interfaces; doing it twice is harmless. `states` stay as they were."""
        with self._lock:
            self._closed = True
        with contextlib.ExitStack() as stack:
            for attached in self._attached:
                if attached is not None:
                    stack.callback(attached.close)
            self._attached = [None] * len(self._attached)

    def _enter(self, number: int, index: int) -> None:
        """Let the counters of a place be those of an index."""
        self._indexes[number] = index
        self._write_options()

    def _write_options(self) -> None:
        # A packet that meets the map half written may be counted as of an unknown interface, never not at all.
        with self._lock:
            options = self._program.maps["epm_options"]
            current = syscalls.map_lookup(options, 0, OPTIONS_DTYPE.itemsize)
            syscalls.map_update(options, 0, pack_options(self._indexes, self._ports, current))

    def _set(self, number: int, **changes: Any) -> None:
        state = replace(self.states[number], **changes)
        self.states = (*self.states[:number], state, *self.states[number + 1 :])

    def _name(self, index: int, name: str) -> None:
        """Note whose an index is from now on, and whether it was another's."""
        if self.names.pop(index, name) != name:
            self._taken_over.add(index)
        self.names[index] = name
        current = {state.index for state in self.states}
        while len(self.names) > _NAMES:
            oldest = next(one for one in self.names if one not in current and one != index)
            del self.names[oldest]
