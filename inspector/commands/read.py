"""`epm-inspector read`: findings of capture files, with neither root nor bcc."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from inspector import log
from inspector.capture.seen import sum_seen
from inspector.capture.stored import STANDARD_INPUT, size_of
from inspector.consequence import Outcome
from inspector.errors import CaptureError
from inspector.escape import display_name
from inspector.evidence.recorder import open_evidence
from inspector.model import Verdict
from inspector.output.console import Tally
from inspector.output.jsonl import write_or_close
from inspector.output.progress import Shares, show_progress
from inspector.output.standard import Output, fail, tally_of, warn
from inspector.output.sums import Sums
from inspector.reading.chain import chain
from inspector.reading.cutting import cut_warning
from inspector.reading.filereader import FileCounts, FileReader, ReadArguments, ReadFiles
from inspector.reading.inputs import find_inputs
from inspector.reading.sighting import survey_files

_LOG: Final = logging.getLogger(__name__)

FOUND: Final = 3
_UNREAD: Final = 1
CUT: Final = 4

PARALLEL_FROM: Final = 512 << 20
"""Bytes of all files from which on another process is worth being started, unless the command line says."""

THREADS_FROM: Final = 16 << 20
"""Bytes of a file from which on other threads are worth being started."""


def run(arguments: ReadArguments) -> int:
    """Run the command; return 3 where one of `fail_on` was found, else 1 where a file was not read, else 0.

    Or 4: `fail_on` is given, nothing of it was found, and the capture keeps only the beginning of packets. A file that
    cannot be read is one line, and the next one is read.
    """
    inputs = find_inputs(arguments.files)
    follow_on = chain(inputs.files, arguments.chained)
    later = {path for paths in follow_on.values() for path in paths}
    arguments = replace(arguments, files=tuple(path for path in inputs.files if path not in later), follow_on=follow_on)
    for note in inputs.notes:
        warn(note)
    for line in inputs.failed:
        fail(line)
    if not inputs.files:
        return _UNREAD
    sizes = [_size(path) for path in arguments.files]
    jobs = _jobs(arguments, sizes)
    with Output(json=arguments.json) as output:
        name = str(arguments.files[0]) if len(sizes) == 1 else f"{len(sizes)} files"
        with show_progress(name, console=output.console) as update:
            shares = Shares(update, sizes)
            if jobs == 1:
                read = _read_here(arguments, output, shares)
            else:
                from inspector.reading.readers import read_in_parallel

                read = read_in_parallel(arguments, jobs, output, shares)
        if read is None:
            return 0
        failed = read.failed + len(inputs.failed) + sum(one.failed for one in read.counts)
        if not read.counts and read.failed:
            return _UNREAD
        tally = tally_of((one.counters for one in read.counts), read.counts, (one.outcomes for one in read.counts))
        seen = sum_seen(one.seen for one in read.counts)
        tally = replace(tally, unread_files=failed, taken_off=seen.taken_off, not_looked_into=seen.not_looked_into)
        sums = Sums()
        for one in read.counts:
            sums.add(one.sums)
        stories = [line for one in read.counts for line in one.stories]
        if arguments.summary and arguments.json:
            services = {"services": sums.services(), "ports_to_open": sums.ports_to_open()}
            view = {"client_view": stories} if stories else {}
            write_or_close(sys.stdout, json.dumps({**_as_dict(tally), **services, **view}) + "\n")
        else:
            output.summary(tally)
            if arguments.summary:
                output.services(sums)
        if arguments.report is not None:
            from inspector.output.report import write_report

            files = [str(path) for path in (*arguments.files, *later)]
            write_report(arguments.report, sums, tally, files, [*inputs.failed, *inputs.notes, *stories])
    is_cut = _warn_of_cut_packets(read.counts)
    found = {word for words in (tally.verdicts, tally.outcomes) for word, count in words.items() if count}
    if found & arguments.fail_on:
        return FOUND
    if failed:
        return _UNREAD
    return CUT if is_cut and arguments.fail_on else 0


def _warn_of_cut_packets(counts: Sequence[FileCounts]) -> bool:
    """Warn of captures that keep only the beginning of packets; return whether there are any."""
    warnings = [cut_warning(one.path, display_name(os.fsencode(one.path)), one) for one in counts]
    for warning in filter(None, warnings):
        warn(warning)
    return any(warnings)


def _read_here(arguments: ReadArguments, output: Output, shares: Shares) -> ReadFiles | None:
    """Read one file after the other; return what was counted, None where nobody reads the findings any more."""
    read = ReadFiles()
    evidence = open_evidence(arguments.evidence, arguments.config, {}, live=False)
    surveyed = survey_files(arguments.files, arguments.config, arguments.follow_on)
    for number, path in enumerate(arguments.files):
        threads = 0
        if _cores() > 1 and (_size(path) or 0) >= THREADS_FROM:
            # What is only counted is not shown meanwhile.
            threads = 1 if arguments.summary else 2
        more = arguments.follow_on.get(path, ())
        sums = Sums() if arguments.needs_sums else None
        reader = FileReader(
            path,
            arguments.config,
            evidence,
            threads,
            surveyed.ties,
            shown=not arguments.summary or arguments.report is not None,
            survey=surveyed.surveys.pop(path, None),
            more=more,
            selection=arguments.selection,
            sums=sums,
        )
        try:
            for batch in reader.findings(warn, shares.of(number)):
                if not arguments.summary and not output.show(batch):
                    return None
        except CaptureError as error:
            log.report(_LOG, error)
            read.add_failed(reader.counts())
        else:
            read.counts.append(reader.counts())
    if evidence is not None:
        evidence.close()
        _LOG.info("%s", evidence.summary())
    return read


def _size(path: Path) -> int | None:
    """Return a file's length, None where it has none that is known or cannot be had (which reading it will tell)."""
    try:
        return size_of(path)
    except OSError:
        return None


def _jobs(arguments: ReadArguments, sizes: Sequence[int | None]) -> int:
    """Return how many processes are to read: 1 is this one; standard input and evidence are this one's alone."""
    if STANDARD_INPUT in arguments.files or arguments.evidence is not None:
        return 1
    wanted = arguments.jobs
    if wanted is None:
        wanted = _cores() if sum(size or 0 for size in sizes) >= PARALLEL_FROM else 1
    return max(1, min(wanted, len(sizes)))


def _cores() -> int:
    """Return how many cores this process may use; not every system says."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _as_dict(tally: Tally) -> dict[str, object]:
    """Return the counts of a run as JSON has them; the keys are an interface which people build on."""
    counts: dict[str, object] = {
        "packets_seen": tally.seen,
        "records_decoded": tally.decoded,
        "findings": sum(tally.verdicts.values()),
        "verdicts": {str(verdict): tally.verdicts[verdict] for verdict in Verdict if tally.verdicts.get(verdict)},
        "anomalies": {reason: count for reason, count in sorted(tally.anomalies.items()) if count},
    }
    if tally.unread_files:
        counts["files_not_read"] = tally.unread_files
    if tally.taken_off:
        counts["carried_in"] = dict(sorted(tally.taken_off.items()))
    if tally.not_looked_into:
        counts["not_looked_into"] = dict(sorted(tally.not_looked_into.items()))
    if tally.outcomes:
        counts["outcomes"] = {str(one): tally.outcomes[one] for one in Outcome if tally.outcomes.get(one)}
    return counts
