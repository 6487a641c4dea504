"""What an inspection still needs once it is attached; all else is given up."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from inspector.live.session import Session

_LOG: Final = logging.getLogger(__name__)


def give_up_privileges(session: Session, *, netns: bool, everything: bool) -> None:
    """Drop all capabilities but those which attaching again may ask for; with `everything` those too.

    What reading and detaching ask for is kept in any case: filters, and the namespace that they are in, outlive the
    process. To be called before a thread is started. Raises PrivilegeError.
    """
    from inspector.live.privileges import Capability, drop_capabilities, is_allowed_without_capabilities

    to_attach = {Capability.CAP_NET_ADMIN} | ({Capability.CAP_SYS_ADMIN} if netns else set())
    keep = set() if everything else set(to_attach)
    if any(attachment.mode == "clsact" for attachment in session.attachments):
        keep |= to_attach
        if everything:
            names = ", ".join(sorted(capability.name for capability in to_attach))
            _LOG.warning("kept: %s, since tc filters do not go by themselves", names)
    # Linux before 5.19 asks for more.
    if not is_allowed_without_capabilities(session.counters):
        keep.add(Capability.CAP_BPF)
    threads = drop_capabilities(keep)
    if threads:
        _LOG.warning("%d threads which some library has started keep their capabilities", threads)
