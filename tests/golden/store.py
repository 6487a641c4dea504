"""The files of the golden traces, and what the inspector says of them."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from inspector.config import Config, load_config
from inspector.output.standard import Output, tally_of, warn
from inspector.reading.filereader import FileReader
from tests.golden import calls, datagrams, frames, http, mapper, requests, streams, tunnels  # noqa: F401  # each registers its traces
from tests.golden.trace import TRACES

GOLDEN = Path(__file__).parent
CAPTURE, CONFIG, FINDINGS, ANOMALIES = ".pcapng", ".toml", ".jsonl", ".anomalies"
LABORATORY = "laboratory"


def made_files() -> dict[str, bytes]:
    """Return what the scripts make, by name within traces/: captures and the configurations they are read with."""
    files = {}
    for trace in TRACES.values():
        files[trace.name + CAPTURE] = trace.content()
        if trace.config:
            files[trace.name + CONFIG] = trace.config.encode()
    return files


def trace_names(golden: Path = GOLDEN) -> list[str]:
    """Return the names of all traces: those which scripts make, and the laboratory captures that are there."""
    laboratory = (path.name.removesuffix(CAPTURE) for path in (golden / "traces").glob(f"{LABORATORY}*{CAPTURE}"))
    return sorted([*TRACES, *laboratory])


def config_of(name: str, golden: Path = GOLDEN) -> Config:
    """Return the configuration a trace is read with: what is decoded is compared, not what answers led to."""
    path = golden / "traces" / (name + CONFIG)
    return (load_config(path) if path.exists() else Config()).model_copy(update={"follow_up": False})


def baseline_of(name: str, golden: Path = GOLDEN) -> dict[str, str]:
    """Return the baseline by file name: the lines of `epm-inspector read --json`, and all anomalies it counts."""
    reader = FileReader(Path(name + CAPTURE), config_of(name, golden))
    findings = io.StringIO()
    # Findings carry the file's name as it was given, so it is given without its folder.
    with (
        contextlib.chdir(golden / "traces"),
        contextlib.redirect_stdout(findings),
        contextlib.redirect_stderr(io.StringIO()),
        Output(json=True) as output,
    ):
        for batch in reader.findings(warn):
            output.show(batch)
    anomalies = tally_of([reader.counters], [reader.pipeline]).anomalies
    lines = (f"{reason} {count}\n" for reason, count in sorted(anomalies.items()) if count)
    return {name + FINDINGS: findings.getvalue(), name + ANOMALIES: "".join(lines)}
