"""The golden traces are what their scripts make, and the inspector says of them what the baselines hold."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from inspector import cli
from inspector.errors import Anomaly
from inspector.model import Verdict
from tests.golden.rewrite import rewrite
from tests.golden.store import (
    ANOMALIES,
    CAPTURE,
    CONFIG,
    FINDINGS,
    GOLDEN,
    LABORATORY,
    baseline_of,
    made_files,
    trace_names,
)
from tests.golden.trace import TRACES

BASELINES = GOLDEN / "baselines"
# Traces where the answer did come, but some of its bytes were lost or could not be read.
ANSWER_UNREAD = ("streams-gap", "frames-fragments-ipv4", "frames-fragments-ipv6", "calls-auth-malformed")


def stored_findings(name: str) -> list[dict[str, object]]:
    """Return the findings of a trace's baseline."""
    return [json.loads(line) for line in (BASELINES / (name + FINDINGS)).read_text().splitlines()]


def stored_anomalies(name: str) -> dict[str, int]:
    """Return the anomalies of a trace's baseline."""
    lines = (line.split() for line in (BASELINES / (name + ANOMALIES)).read_text().splitlines())
    return {reason: int(count) for reason, count in lines}


def test_traces_are_what_their_scripts_make() -> None:
    """Captures and configurations, byte for byte; nothing else lies there but laboratory captures."""
    stored = {
        path.name: path.read_bytes() for path in (GOLDEN / "traces").iterdir() if not path.name.startswith(LABORATORY)
    }
    made = made_files()
    assert sorted(stored) == sorted(made)
    assert [name for name, content in made.items() if stored[name] != content] == []


def test_scripts_make_the_same_every_time() -> None:
    """No clock, no chance."""
    assert made_files() == made_files()


def test_every_trace_says_what_it_shows() -> None:
    """The docstring of the function that makes a trace is its description."""
    assert [name for name, trace in TRACES.items() if not trace.make.__doc__] == []


@pytest.mark.parametrize("name", trace_names())
def test_findings_and_anomalies_equal_the_baseline(name: str) -> None:
    """What `read --json` says of the trace, line for line, and every anomaly it counts."""
    for file, text in baseline_of(name).items():
        assert text == (BASELINES / file).read_text(), f"{file}: if this is meant, run python -m tests.golden.rewrite"


def test_no_baseline_without_trace() -> None:
    """A trace that went takes its baseline along."""
    expected = {name + suffix for name in trace_names() for suffix in (FINDINGS, ANOMALIES)}
    assert {path.name for path in BASELINES.iterdir()} == expected


@pytest.mark.parametrize("name", trace_names())
def test_the_command_prints_the_baseline(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`epm-inspector read --json FILE` itself, in the folder of the traces: standard output is the baseline."""
    monkeypatch.chdir(GOLDEN / "traces")
    config = ["--config", name + CONFIG] if Path(name + CONFIG).exists() else []
    assert cli.main(["read", "--json", "--no-follow-up", name + CAPTURE, *config]) == 0
    assert capsys.readouterr().out == (BASELINES / (name + FINDINGS)).read_text()


def test_rewriting_changes_nothing(tmp_path: Path) -> None:
    """On a clean tree the command that rewrites everything has nothing to do."""
    copy = tmp_path / "golden"
    for folder in ("traces", "baselines"):
        shutil.copytree(GOLDEN / folder, copy / folder)
    assert rewrite(copy) == []


def test_rewriting_repairs_everything(tmp_path: Path) -> None:
    """Missing, damaged and stale files are made anew, changed and removed; laboratory captures stay."""
    for folder in ("traces", "baselines"):
        shutil.copytree(GOLDEN / folder, tmp_path / folder)
    victim = tmp_path / "traces" / ("streams-in-order" + CAPTURE)
    laboratory = tmp_path / "traces" / (LABORATORY + "-copy" + CAPTURE)
    shutil.copy(victim, laboratory)
    victim.write_bytes(b"damaged")
    (tmp_path / "traces" / ("calls-faults" + CAPTURE)).unlink()
    (tmp_path / "baselines" / "no-such-trace.jsonl").write_text("stale")
    assert rewrite(tmp_path) == [
        f"made traces/calls-faults{CAPTURE}",
        f"changed traces/streams-in-order{CAPTURE}",
        "removed baselines/no-such-trace.jsonl",
        f"made baselines/{LABORATORY}-copy{ANOMALIES}",
        f"made baselines/{LABORATORY}-copy{FINDINGS}",
    ]
    assert rewrite(tmp_path) == []


LIVE_ONLY = {
    Anomaly.DECODER_QUOTA,
    Anomaly.FOLLOW_UP_QUOTA,
    Anomaly.OUTCOME_EVICTED,
    Anomaly.OUTCOME_UNDECIDED,
    Anomaly.ONE_WAY_VIEW,
}


# Verdicts on connections: tests/unit/test_one_way_view.py, and the case 47.
@pytest.mark.parametrize("verdict", sorted(set(Verdict) - {Verdict.ONE_WAY, Verdict.OPEN}))
def test_every_verdict_is_reached_from_packets(verdict: Verdict) -> None:
    """Some golden trace has a finding with this verdict."""
    assert [name for name in trace_names() if verdict in {finding["verdict"] for finding in stored_findings(name)}]


@pytest.mark.parametrize("anomaly", sorted(set(Anomaly) - LIVE_ONLY))
def test_every_anomaly_is_reached_from_packets(anomaly: Anomaly) -> None:
    """Some golden trace counts this anomaly, those of the frame reader included.

    What answers led to is followed on demand only, and quotas are those of `attach`:
    tests/property/test_outcome_bounds.py, tests/property/test_quota.py and tests/unit/test_following.py reach their
    anomalies.
    """
    assert [name for name in trace_names() if stored_anomalies(name).get(anomaly)]


@pytest.mark.parametrize("name", ANSWER_UNREAD)
def test_an_answer_that_could_not_be_read_is_not_called_missing(name: str) -> None:
    """`unanswered` is for silence: where bytes of the server were lost, nobody knows whether the call was answered."""
    assert Verdict.UNANSWERED not in {finding["verdict"] for finding in stored_findings(name)}


@pytest.mark.parametrize("name", trace_names())
def test_no_latency_is_negative(name: str) -> None:
    """Whatever order packets were captured in: a negative latency would make the histogram's sum go down."""
    assert [one for one in stored_findings(name) if one.get("latency_ms", 0) < 0] == []  # type: ignore[operator]
