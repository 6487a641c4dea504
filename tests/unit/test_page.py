"""The page for people without Grafana: what it says, that it loads nothing, and that packets cannot write on it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from ipaddress import IPv6Address, ip_address
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from inspector.consequence import HARMFUL
from inspector.http import page as page_module
from inspector.http.overview import FINDINGS, MAPPINGS, Overview
from inspector.http.page import HEADERS, REFRESH_SECONDS, page
from inspector.http.routes import ANSWER_BYTES, Routes
from inspector.metrics.updates import Metrics
from inspector.model import RpcInterface, Verdict
from tests.build.blocks import batch_of
from tests.build.state import STATE
from tests.unit.test_console import FINDING
from tests.unit.test_follow_up_output import LATER

OFFER = {
    "asked": "10.11.2.2",
    "service": "MAPI",
    "offered": "10.11.2.7",
    "verdict": "mismatch",
    "answers": 3,
    "last": "2026-11-25T09:00:09.000000000Z",
}
EVIL = "<script>alert(1)</script>&\"'"
NO_OUTCOMES: dict[str, Any] = {"hurt": [], "servers": [], "minutes": []}
HURT = {
    "asked": "10.11.2.2",
    "service": "MAPI",
    "target": "asked",
    "outcome": "refused",
    "cause": "ports_not_published",
    "remedy": "publish the port",
    "why": "a reset after 2 ms",
    "count": 9,
    "clients": ["10.1.1.1", "10.1.1.2"],
    "more_clients": False,
    "since": "2026-11-25T08:59:09.000000000Z",
    "last": "2026-11-25T09:00:09.000000000Z",
}
OUTCOMES = {
    "hurt": [HURT],
    "servers": [{"asked": "10.11.2.2", "offered": "10.11.2.7", "outcomes": {"reached": 3, "refused": 9}}],
    "minutes": [{"start": "2026-11-25T08:59:00.000000000Z", "outcomes": {"reached": 3, "refused": 9, "open": 1}}],
}


class Reader(HTMLParser):
    """Notes elements with their attributes, tables as lists of rows, and what is open."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(html)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "br"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Each ends in the order in which they were opened."""
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Note text."""
        self.text += f"{data} "

    def count(self, tag: str) -> int:
        """Return how many elements of a kind there are."""
        return sum(name == tag for name, _ in self.elements)


def shown(**more: Any) -> Reader:
    """Return what is on the page."""
    arguments: dict[str, Any] = {"healthy": True, "refresh": False} | more
    return Reader(page(STATE, NO_OUTCOMES, [OFFER], [FINDING], **arguments))


def test_what_it_says() -> None:
    """State, loss, interfaces with the reason why one is not attached, offers and findings."""
    text = " ".join(shown().text.split())
    for words in (
        "Attached to 1 of 2 interfaces. The main loop runs. 1,234 packets were seen. 7 of them were lost",
        "3 answers offered another address than the one that was asked.",
        "eth1@inner no - 2026-11-25 09:00:02 - it has gone",
        "10.11.2.2 MAPI 10.11.2.7 mismatch 3 2026-11-25 09:00:09",
        "stream_gap 2",
    ):
        assert words in text
    assert "does not run" in shown(healthy=False).text


def test_it_can_be_heard() -> None:
    """Language, landmarks, one heading, captions, and headings of columns and rows in every table."""
    html = Reader(page(STATE, OUTCOMES, [OFFER], [FINDING], healthy=True, refresh=False))
    assert ("html", {"lang": "en"}) in html.elements
    assert [html.count(tag) for tag in ("main", "header", "nav", "footer", "h1")] == [1] * 5
    assert html.count("table") == html.count("caption") == html.count("thead") == 6
    pictures = [attributes for tag, attributes in html.elements if tag == "svg" and "aria-hidden" not in attributes]
    assert [attributes["role"] for attributes in pictures] == ["img", "img"]
    assert all(attributes["aria-label"] for attributes in pictures)
    scopes = [attributes.get("scope") for tag, attributes in html.elements if tag == "th"]
    assert set(scopes) == {"col", "row"}
    assert html.count("tr") == scopes.count("row") + html.count("table")


def test_it_asks_again_only_where_that_is_wanted() -> None:
    """By itself it stays as it is; the page that refreshes has a link to the one that does not."""
    assert not any(attributes.get("http-equiv") for _, attributes in shown().elements)
    refreshing = shown(refresh=True).elements
    assert ("meta", {"http-equiv": "refresh", "content": str(REFRESH_SECONDS)}) in refreshing
    assert ("a", {"href": "/"}) in refreshing


def test_nothing_is_loaded_or_run() -> None:
    """No script, image or style from anywhere; the policy allows the one style that is in it, by its hash."""
    html = shown()
    assert {tag for tag, _ in html.elements}.isdisjoint({"script", "img", "link", "iframe", "object", "form"})
    assert not any(name.startswith("on") or name == "style" for _, attributes in html.elements for name in attributes)
    targets = [attributes["href"] for tag, attributes in html.elements if tag == "a"]
    assert all(target is not None and target.startswith("/") and "//" not in target for target in targets)
    [style] = re.findall(r"<style>(.*?)</style>", page(STATE, OUTCOMES, [], [], healthy=True, refresh=False), re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest())
    policy = dict(HEADERS)[b"Content-Security-Policy"]
    assert b"default-src 'none'" in policy
    assert digest in policy


def test_packets_cannot_write_on_it() -> None:
    """What comes from outside stands there as text, wherever it stands."""
    evil = RpcInterface(UUID(int=1), 1, name=EVIL)
    finding = replace(FINDING, why=EVIL, requested=evil, mappings=(), source=EVIL)
    state = STATE | {"interfaces": [STATE["interfaces"][1] | {"name": EVIL, "explanation": EVIL}]}
    hurt = HURT | dict.fromkeys(("asked", "service", "remedy", "why"), EVIL) | {"clients": [EVIL]}
    servers = [{"asked": EVIL, "offered": EVIL, "outcomes": {"refused": 1}}]
    outcomes = OUTCOMES | {"hurt": [hurt], "servers": servers}
    html = page(state, outcomes, [OFFER | {"asked": EVIL, "service": EVIL}], [finding], healthy=True, refresh=False)
    assert "<script" not in html
    assert Reader(html).text.count(EVIL) == 6 + 5 + 2
    assert 'alert(1)</script>&"' not in html


def test_text_that_does_not_print_is_escaped() -> None:
    """Marks of direction could let one name look like another; bytes that are no text cannot be sent."""
    odd = "eth\u202e0\x1b\u2028\udcff"
    finding = replace(FINDING, why=odd)
    state = STATE | {"interfaces": [STATE["interfaces"][1] | {"name": odd, "netns": odd, "explanation": odd}]}
    outcomes = OUTCOMES | {"servers": [{"asked": odd, "offered": odd, "outcomes": {"refused": 1}}]}
    html = page(state, outcomes, [OFFER | {"service": odd}], [finding], healthy=True, refresh=False)
    assert html.encode().count(b"eth\\u202e0\\x1b\\u2028\\udcff") == 5 + 2
    assert all(line.isprintable() for line in html.split("\n"))


def test_nothing_so_far() -> None:
    """Without a finding there are sentences where tables would be."""
    state = STATE | {"verdicts": {str(verdict): 0 for verdict in Verdict}, "anomalies": {}}
    html = Reader(page(state, NO_OUTCOMES, [], [], healthy=True, refresh=False))
    assert html.count("table") == 1
    assert html.text.count("Nothing so far.") == 7
    assert "What answers led to was not seen so far." in html.text


def test_who_is_hurt_comes_first() -> None:
    """How often and by what, then who, where, since when, why and what to do; a mismatch alone is no harm."""
    state = STATE | {"outcomes": STATE["outcomes"] | {"refused": 9, "reached": 3}}
    text = " ".join(Reader(page(state, OUTCOMES, [OFFER], [FINDING], healthy=True, refresh=False)).text.split())
    assert text.startswith("9 failures in the last hour - epm-inspector")
    first = (
        "Clients were hurt in the last hour: refused 9. Since the start 3 connections to what was offered got through;"
        " failed: refused 9."
    )
    second = (
        "10.11.2.2 MAPI client 10.1.1.1 and 1 other refused 9 times 2026-11-25 08:59:09 2026-11-25 09:00:09 ports not"
        " published: a reset after 2 ms To do: publish the port"
    )
    assert 0 < text.index(first) < text.index("Attached to") < text.index(second) < text.index("Last findings")
    well = STATE | {"outcomes": STATE["outcomes"] | {"reached": 3}}
    html = page(well, NO_OUTCOMES, [OFFER], [FINDING], healthy=True, refresh=False)
    assert "No client was hurt. Since the start 3 connections to what was offered got through." in html
    assert '<td class="doubt">mismatch</td>' in html
    text = Reader(page(state, OUTCOMES | {"minutes": []}, [], [], healthy=True, refresh=False)).text
    assert "3 mismatches - epm-inspector" in text
    assert "No client was hurt in the last hour." in text
    assert "got through; failed: refused 9." in text


@pytest.fixture
def routes() -> Routes:
    """Return the routes of an inspection which has found a mismatch."""
    overview = Overview()
    overview.observe(batch_of(FINDING))
    return Routes(Metrics(CollectorRegistry()), overview)


class Inspected:
    """A running inspection."""

    healthy = True
    snapshot = STATE


def test_routes(routes: Routes) -> None:
    """The page in both forms, findings and offers as JSON; before anything is attached there is no page."""
    table = routes.table()
    assert table["/"]().status == 503
    routes.inspection = Inspected()
    answer = table["/"]()
    assert (answer.status, answer.content_type, answer.headers) == (200, "text/html; charset=utf-8", HEADERS)
    assert b"refresh" in table["/live"]().body
    assert json.loads(table["/findings"]().body) == [FINDING.as_dict()]
    assert json.loads(table["/outcomes"]().body).keys() == {"time", "hurt", "servers", "minutes"}
    for path in ("/findings", "/offers", "/outcomes", "/status", "/", "/live"):
        assert (b"Cache-Control", b"no-store") in table[path]().headers
    [offer] = json.loads(table["/offers"]().body)["offers"]
    assert (offer["asked"], offer["offered"], offer["answers"]) == ("10.11.2.2", "10.11.2.7", 1)


def test_routes_without_findings(routes: Routes) -> None:
    """Nothing that names clients or servers of findings: 403 and where it is; all else is as before."""
    routes.inspection = Inspected()
    table = routes.table(with_findings=False)
    assert set(table) == set(routes.table())
    for path in ("/", "/live", "/findings", "/offers", "/outcomes"):
        refusal = table[path]()
        assert refusal.status == 403
        assert b"UNIX socket" in refusal.body
        assert b"serve_findings" in refusal.body
    assert [table[path]().status for path in ("/metrics", "/healthz", "/status")] == [200] * 3


def test_findings_and_page_are_bounded() -> None:
    """However long listings and names are, every answer has a limit, and each verdict its share of it."""
    clock = iter(range(1 << 30))
    overview = Overview(clock=clock.__next__)
    routes = Routes(Metrics(CollectorRegistry()), overview)
    routes.inspection = Inspected()
    long_one = replace(FINDING.mappings[0], endpoint="\x80" * 256, annotation="<" * 256)
    for number in range(FINDINGS + 5):
        for verdict in Verdict:
            mappings = tuple(replace(long_one, verdict=verdict) for _ in range(500 if verdict != "fault" else 0))
            overview.observe(batch_of(replace(FINDING, time_ns=number, verdict=verdict, mappings=mappings)))
    answer = routes.table()["/findings"]()
    found = json.loads(answer.body)
    assert len(answer.body) <= ANSWER_BYTES + len("[]\n\n\n")
    assert (b"X-Findings-Left-Out", str(FINDINGS * len(Verdict) - len(found)).encode()) in answer.headers
    assert {finding["verdict"] for finding in found} == set(Verdict)
    assert sum(finding["verdict"] == "fault" for finding in found) == FINDINGS
    times = [finding["time"] for finding in found if finding["verdict"] == "mismatch"]
    assert times[0].endswith(f"{FINDINGS + 4}Z")
    assert times == sorted(times, reverse=True)
    assert len(routes.table()["/"]().body) < ANSWER_BYTES


def test_who_is_hurt_is_bounded() -> None:
    """However many kinds of harm come, of however many clients, with long names: page and JSON have a limit."""
    clock = iter(range(1 << 30))
    overview = Overview(clock=clock.__next__)
    routes = Routes(Metrics(CollectorRegistry()), overview)
    routes.inspection = Inspected()
    base = int(ip_address("2001:db8:1111:2222:3333:4444:5555:0"))
    for number in range(2000):
        assert LATER.consequence is not None
        consequence = replace(LATER.consequence, outcome=sorted(HARMFUL)[number % len(HARMFUL)], remedy="<" * 500)
        asked = IPv6Address(base + number // 10)
        client = IPv6Address(base + number)
        later = replace(LATER, asked=asked, client=client, why="<" * 500, consequence=consequence)
        overview.observe(batch_of(replace(FINDING, asked=asked, client=client, follow_up=later)))
    for path in ("/", "/outcomes"):
        assert 50_000 < len(routes.table()[path]().body) < ANSWER_BYTES


def test_a_follow_up_is_served_with_its_answer() -> None:
    """As two objects, the newer first; kept apart from harmless findings of the same verdict, which come more often."""
    clock = iter(range(1 << 30))
    overview = Overview(clock=clock.__next__)
    later = replace(LATER, time_ns=FINDING.time_ns + 1)
    overview.observe(batch_of(replace(FINDING, follow_up=later)))
    for number in range(FINDINGS + 5):
        overview.observe(batch_of(replace(FINDING, time_ns=FINDING.time_ns + 2 + number)))
    routes = Routes(Metrics(CollectorRegistry()), overview)
    routes.inspection = Inspected()
    found = json.loads(routes.table()["/findings"]().body)
    assert [one["kind"] for one in found[-2:]] == ["follow_up", "answer"]
    assert found[-2:] == [later.as_dict(), FINDING.as_dict()]
    assert len(found) == FINDINGS + 2
    html = routes.table()["/"]().body.decode()
    assert "it was refused" in html
    assert html.count('<td class="doubt">mismatch</td><td>10.1.1.1') == page_module.FINDINGS


def test_a_long_listing_is_shortened() -> None:
    """Of its mappings those are kept which the verdict is about, and how many more there are is said."""
    overview = Overview()
    matches = [replace(FINDING.mappings[0], verdict=Verdict.MATCH, port=port) for port in range(490)]
    overview.observe(batch_of(replace(FINDING, mappings=(*matches, FINDING.mappings[0]))))
    routes = Routes(Metrics(CollectorRegistry()), overview)
    [found] = json.loads(routes.table()["/findings"]().body)
    assert [mapping["port"] for mapping in found["mappings"]] == [41376, *range(MAPPINGS - 1)]
    assert found["mappings_left_out"] == 491 - MAPPINGS
    assert overview.offers()[0][0]["offered"] == "10.11.2.7"
