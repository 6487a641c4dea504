"""The scenarios: what is built, who visits, and what is to be found.

Each is built in a laboratory of its own. The clients ask for a service of Samba's and go on to its endpoint; what
crosses the gateway's ports is recorded, and read with follow-ups; an inspector is attached to the ports meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from inspector.consequence import HARMFUL, Cause, Outcome, Target
from inspector.lab import nat64, topology
from inspector.lab.scenarios import network, servers
from inspector.lab.scenarios.expected import (
    Expected,
    answered,
    failed,
    lost,
    no_connection,
    reached,
    unanswered,
)
from inspector.lab.scenarios.visits import (
    ask_rpcclient,
    ask_slowly,
    ask_then_list,
    port_of,
    visiting,
)
from inspector.model import Verdict

if TYPE_CHECKING:
    from inspector.lab.gateway import Laboratory

_VIP: Final = topology.VIRTUAL_ADDRESS
_DIP: Final = topology.SERVER_ADDRESS
_MISMATCH: Final = answered(Verdict.MISMATCH)
_MATCH: Final = answered(Verdict.MATCH)
_HARMLESS: Final = (_MISMATCH, reached())
# A SYN without answer counts once nothing has followed it for some seconds.
_LINGER: Final = ("--linger", "3.2")
_ASK_THREE_TIMES: Final = visiting(_VIP)
_ONCE: Final = ("--rounds", "1")
_PATIENT: Final = ("--timeout", "1.5", "--rounds", "2", *_LINGER)


def _nothing(_laboratory: Laboratory) -> None:
    """Leave the laboratory as it is: a balancer that translates all ports."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`story` is what is built and what happens; `ports` are those whose captures are read together.

    `expected` is what `read` says of them, and `attach` while it happens, unless `live` has something else for the
    reason `live_differs`. `prepare` adds the parts, `visit` lets the clients ask; `settings` is the configuration of
    the inspector.
    """

    story: str
    expected: tuple[Expected, ...]
    prepare: Callable[[Laboratory], None] = _nothing
    visit: Callable[[Laboratory], None] = _ASK_THREE_TIMES
    ports: tuple[str, ...] = topology.PORTS
    settings: str = ""
    nat64: bool = False
    live: tuple[Expected, ...] = ()
    live_differs: str = ""

    @property
    def expected_live(self) -> tuple[Expected, ...]:
        """What `attach` is to say."""
        return self.live or self.expected

    @property
    def is_harmless(self) -> bool:
        """Whether no client is hurt."""
        return not any(one.outcome in HARMFUL for one in self.expected)


def _firewalled(verdict: str) -> Callable[[Laboratory], None]:
    return partial(network.stop_at_gateway, verdict=verdict)


def _filtered(action: str) -> Callable[[Laboratory], None]:
    return partial(servers.start_filter, action=action)


def _rewrite(laboratory: Laboratory) -> None:
    network.translate_at_gateway(laboratory)
    servers.start_filter(laboratory, "rewrite")


def _no_affinity(laboratory: Laboratory) -> None:
    servers.add_server(laboratory)
    other_port = port_of(laboratory, topology.SPARE_ADDRESS, "WKSSVC")
    network.split_ports(laboratory, port_of(laboratory, _DIP, "SAMR"), other_port)


def _proxy_without_server(laboratory: Laboratory) -> None:
    servers.start_proxy(laboratory)
    servers.end_mapper(laboratory)


def _swallowed(*words: str) -> tuple[Expected, ...]:
    return (_MISMATCH, lost(Verdict.MISMATCH, Cause.STRICT_RPC_FILTER, _DIP, *words))


SCENARIOS: Final[dict[str, Scenario]] = {
    "healthy": Scenario(
        "Clients ask the server by its own address, and get through.",
        (_MATCH, reached(), answered(Verdict.NO_ADDRESS, optional=True)),
        visit=partial(ask_rpcclient, server=_DIP),
    ),
    "balanced": Scenario(
        "A balancer translates all ports of the virtual address: towers name the server, and clients get through.",
        (*_HARMLESS, answered(Verdict.NO_ADDRESS, optional=True)),
        visit=partial(ask_rpcclient, server=_VIP),
    ),
    "only-135-reset": Scenario(
        "The balancer translates port 135 alone, and resets connections to other ports.",
        (_MISMATCH, failed(Outcome.REFUSED, Cause.PORTS_NOT_PUBLISHED, _VIP)),
        prepare=partial(network.publish_only_135, otherwise="reject with tcp reset"),
    ),
    "only-135-silent": Scenario(
        "The balancer translates port 135 alone, and drops packets to other ports.",
        (_MISMATCH, failed(Outcome.TIMED_OUT, Cause.PORTS_NOT_PUBLISHED, "no answer")),
        prepare=partial(network.publish_only_135, otherwise="drop"),
        visit=visiting(_VIP, *_PATIENT),
    ),
    "to-the-dip": Scenario(
        "A client that does not conform goes to the address of the tower, which the gateway forbids.",
        (_MISMATCH, failed(Outcome.TIMED_OUT, Cause.LOAD_BALANCER, "does not conform", target=Target.OFFERED)),
        prepare=network.forbid_dip,
        visit=visiting(_VIP, "--go", "offered", *_PATIENT),
    ),
    "to-the-dip-open": Scenario(
        "A client that does not conform goes to the address of the tower, and gets through.",
        (_MISMATCH, reached(Target.OFFERED)),
        visit=visiting(_VIP, "--go", "offered"),
    ),
    "no-affinity": Scenario(
        "A balancer without affinity: port 135 goes to one server, the endpoint's port to another.",
        (
            _MISMATCH,
            answered(Verdict.MISMATCH, Cause.LOAD_BALANCER, optional=True),
            failed(Outcome.WRONG_SERVER, Cause.NO_AFFINITY, "another server"),
        ),
        prepare=_no_affinity,
    ),
    "filter-silent": Scenario(
        "A strict filter in the gateway drops each answer that names another address than the asked one.",
        _swallowed("dropped here"),
        prepare=_filtered("silent"),
        visit=visiting(_VIP, *_ONCE),
    ),
    "filter-fin": Scenario(
        "The filter drops the answer and closes the client's connection.",
        _swallowed("dropped here"),
        prepare=_filtered("fin"),
    ),
    "filter-rst": Scenario(
        "The filter drops the answer and resets the client's connection.",
        _swallowed("dropped here"),
        prepare=_filtered("rst"),
    ),
    "original": Scenario(
        "The original case: a client over NAT64; the filter drops the answer, the client gets a bind_nak of 24 bytes.",
        _swallowed("bind_nak of 24 bytes"),
        prepare=_filtered("bind_nak"),
        visit=visiting(nat64.VIRTUAL_ADDRESS),
        settings=f'nat64_prefixes = ["{nat64.PREFIX}"]\n',
        nat64=True,
    ),
    "firewall-drop": Scenario(
        "The gateway's firewall lets port 135 through and drops connections to endpoints.",
        (_MATCH, failed(Outcome.TIMED_OUT, Cause.PORTS_FILTERED, "no answer")),
        prepare=_firewalled("drop"),
        visit=visiting(_DIP, *_PATIENT),
    ),
    "firewall-reset": Scenario(
        "The gateway's firewall resets connections to endpoints in the server's name.",
        (_MATCH, failed(Outcome.REFUSED, Cause.PORTS_FILTERED, "in the name of")),
        prepare=_firewalled("reject with tcp reset"),
        visit=visiting(_DIP),
    ),
    "firewall-icmp": Scenario(
        "The gateway's firewall rejects connections to endpoints with ICMP.",
        (_MATCH, failed(Outcome.UNREACHABLE, Cause.PORTS_FILTERED, "administratively prohibited")),
        prepare=_firewalled("reject with icmp type admin-prohibited"),
        visit=visiting(_DIP),
    ),
    "mapper-refused": Scenario(
        "No endpoint mapper runs on the server: its kernel refuses connections.",
        (no_connection(Outcome.REFUSED, Cause.MAPPER_REFUSES, "TTL"),),
        prepare=servers.end_mapper,
    ),
    "mapper-silent": Scenario(
        "The server drops what comes to port 135.",
        (no_connection(Outcome.TIMED_OUT, Cause.MAPPER_DOWN, "SYNs"),),
        prepare=network.drop_at_server,
        visit=visiting(_VIP, "--timeout", "1.5"),
    ),
    "mapper-mute": Scenario(
        "The server's kernel accepts connections to port 135, and the endpoint mapper hangs.",
        (no_connection(Outcome.BROKEN, Cause.MAPPER_MUTE, "acknowledged"),),
        prepare=servers.hold_mapper,
        visit=visiting(_VIP, *_ONCE),
        live=(unanswered(Cause.MAPPER_MUTE, "not answered"),),
        live_differs="The bind is given up after a time, not when its connection ends: a finding of the question.",
    ),
    "mapper-slow": Scenario(
        "The endpoint mapper answers after two seconds, and the client gets through.",
        (answered(Verdict.MISMATCH, Cause.SLOW_SERVER, "answered after"), reached()),
        visit=partial(ask_slowly, server=_VIP),
    ),
    "loss": Scenario(
        "The gateway loses the first copy of each SYN and of each segment of port 135: clients wait, and get through.",
        _HARMLESS,
        prepare=network.lose_first_copies,
        visit=visiting(_VIP, "--rounds", "2"),
    ),
    "path-mtu": Scenario(
        "The way to the clients has an MTU of 700, and ICMP is dropped: a long listing never arrives.",
        (*_HARMLESS, lost(Verdict.MISMATCH, Cause.PATH_MTU, f"small answers of {_VIP} do arrive")),
        prepare=network.shrink_path,
        visit=partial(ask_then_list, server=_VIP),
        ports=(topology.SERVER_PORT,),
    ),
    "device-resets": Scenario(
        "A device in the gateway resets connections to endpoints at the bind, in the server's name.",
        (_MATCH, failed(Outcome.BROKEN, Cause.RESET_BY_DEVICE, "in the name of")),
        prepare=network.reset_binds,
        visit=visiting(_DIP),
    ),
    "dead-member": Scenario(
        "One of two servers behind the balancer has no endpoint mapper: every second client is refused.",
        (*_HARMLESS, no_connection(Outcome.REFUSED, Cause.MAPPER_REFUSES)),
        prepare=network.balance_port_135,
        visit=visiting(_VIP, "--rounds", "4"),
    ),
    "gateway-balances": Scenario(
        "The gateway itself is the balancer: on the servers' side packets are translated already.",
        (answered(Verdict.MISMATCH, Cause.LOAD_BALANCER, _VIP), reached()),
        prepare=network.translate_at_gateway,
    ),
    "gateway-rewrites": Scenario(
        "The gateway is the balancer, and rewrites the address in the tower.",
        (_MATCH, reached()),
        prepare=_rewrite,
    ),
    "proxy": Scenario(
        "haproxy in the gateway accepts connections for the virtual address, and makes its own to the server.",
        (answered(Verdict.MISMATCH, Cause.LOAD_BALANCER, _VIP), reached()),
        prepare=servers.start_proxy,
        live=(_MISMATCH, _MATCH, reached()),
        live_differs="Proxies are recognised at the end only: both connections are questions of their own.",
    ),
    "proxy-without-server": Scenario(
        "haproxy accepts connections for the virtual address and has no server left: its checks are refused.",
        (unanswered(Cause.MAPPER_MUTE), no_connection(Outcome.REFUSED, Cause.MAPPER_REFUSES, f"{_DIP}:135")),
        prepare=_proxy_without_server,
    ),
}
