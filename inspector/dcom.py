"""The part of a finding that is about a DCOM call (MS-DCOM): what was asked for, how, and which bindings are of use.

docs/findings.md has the meaning of each key.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

INTEGRITY: Final = 5
"""Authentication level from which a hardened server activates (KB5004442)."""

LEVELS: Final = {
    1: "none",
    2: "connect",
    3: "call",
    4: "packet",
    5: "packet integrity",
    6: "packet privacy",
}
"""Authentication levels: MS-RPCE section 2.2.1.1.8."""


class Reach(enum.StrEnum):
    """How a client gets to a binding from where it is: at the address it asked, at another, or by a name. Closed."""

    ASKED_ADDRESS = "asked_address"
    OTHER_ADDRESS = "other_address"
    NAME_ONLY = "name_only"


class Role(enum.StrEnum):
    """Whose binding it is: where objects are (the exporter), or where they are resolved and pinged (the resolver)."""

    EXPORTER = "object_exporter"
    RESOLVER = "object_resolver"


class Binding(NamedTuple):
    """What a string binding says beside address and port; `host` is its name, where it is one."""

    role: Role
    reach: Reach
    host: str | None = None


class Named(NamedTuple):
    """A class or an interface, with its usual name and, of an activated interface, the HRESULT."""

    uuid: UUID
    name: str | None = None
    hresult: int | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: uuid, name, and hresult where there is one."""
        result: dict[str, Any] = {"uuid": str(self.uuid), "name": self.name}
        if self.hresult is not None:
            result["hresult"] = f"{self.hresult:#010x}"
        return result


@dataclass(frozen=True, slots=True)
class DcomCall:
    """What a DCOM call asks for and gets.

    `level` and `service` are authentication level and service of the call, or of its bind; 0 and None for none.
    `services` are those of the security bindings, `principals` the first names in them.
    """

    level: int = 0
    service: str | None = None
    class_: Named | None = None
    interfaces: tuple[Named, ...] = ()
    server_name: str | None = None
    oxid: int | None = None
    ipid: UUID | None = None
    version: tuple[int, int] | None = None
    services: tuple[str, ...] = ()
    principals: tuple[str, ...] = ()

    @property
    def level_name(self) -> str:
        """The authentication level in words."""
        return LEVELS.get(self.level, "none" if not self.level else f"level {self.level}")

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form: keys which have a value, in a fixed order."""
        result: dict[str, Any] = {
            "authentication": {"level": self.level, "name": self.level_name, "service": self.service}
        }
        if self.class_ is not None:
            result["class"] = self.class_.as_dict()
        if self.interfaces:
            result["interfaces"] = [one.as_dict() for one in self.interfaces]
        if self.server_name is not None:
            result["server_name"] = self.server_name
        if self.oxid is not None:
            result["oxid"] = f"{self.oxid:#018x}"
        if self.ipid is not None:
            result["ipid"] = str(self.ipid)
        if self.version is not None:
            result["version"] = f"{self.version[0]}.{self.version[1]}"
        if self.services:
            result["security_services"] = list(self.services)
        if self.principals:
            result["principals"] = list(self.principals)
        return result
