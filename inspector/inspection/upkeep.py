"""What happens to a running inspection from outside: its interfaces come and go, its configuration is changed."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from inspector.errors import ConfigError
from inspector.metrics.labels import attach_failure_reason

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydantic import BaseModel

    from inspector.config import Config
    from inspector.inspection.delivery import Sinks
    from inspector.inspection.following import Following
    from inspector.live.attach.watch import Change
    from inspector.live.session import Session
    from inspector.pipeline import Pipeline

# Everything else is part of the compiled program, of tables that were made, or of sockets that listen.
_CHANGEABLE: Final = ("ports", "nat64_prefixes", "learned_vips", "vip", "limits")
_FIXED_LIMITS: Final = ("connections", "buffered_bytes")


class Upkeep:
    """Follows what changes: for the main loop, which calls `look` often.

    `config` is the configuration in force, `load` reads it again from `file` (None: there is none).
    """

    def __init__(
        self,
        session: Session,
        pipeline: Pipeline,
        following: Following | None,
        sinks: Sinks,
        config: Config,
        file: Path | None,
        load: Callable[[], Config],
    ) -> None:
        self._session = session
        self._pipeline = pipeline
        self._following = following
        self._metrics, self._output, self._evidence = sinks.metrics, sinks.output, sinks.evidence
        self._recording = sinks.recording
        self._load = load
        self.config = config
        self.file = file
        self.read_ns = time.time_ns()
        self.valid = True
        self._metrics.config_reloaded(self.read_ns)

    def look(self) -> None:
        """Report what has happened to the interfaces since the last time."""
        for change in self._session.changes():
            self._report(change)

    def _report(self, change: Change) -> None:
        name = change.state.name
        if change.index_taken_over:
            # What is known of the index was said under another interface's name.
            self._pipeline.forget_judgements()
        if change.loss is not None:
            self._metrics.detached(name)
            self._metrics.attachment_lost(name, change.loss)
        if change.attached is not None:
            self._metrics.attached(name, change.attached.hook, change.attached.mode)
            self._metrics.reattached(name)
        if change.error is not None:
            self._metrics.attach_failure(name, attach_failure_reason(change.error))
        if change.text is not None:
            self._output.note(change.text)

    def reload(self) -> None:
        """Open files that are written anew; read the configuration again and take over what can be.

        A bad file changes nothing, and is told.
        """
        self._output.reopen()
        if self._evidence is not None:
            self._evidence.reopen()
        if self._recording is not None:
            self._recording.reopen()
        if self.file is None:
            self._output.note("SIGHUP: started without --config, nothing to reload")
            return
        try:
            new = self._load()
        except ConfigError as error:
            self.valid = False
            self._metrics.config_rejected()
            self._output.note(f"SIGHUP: reload failed, previous configuration kept: {error}")
            return
        changed, fixed = changes(self.config, new)
        self._take_over(new)
        self.valid = True
        self.read_ns = time.time_ns()
        self._metrics.config_reloaded(self.read_ns)
        text = f"changed: {', '.join(changed)}" if changed else "nothing changed"
        restart = f"; restart required for: {', '.join(fixed)}" if fixed else ""
        self._output.note(f"{self.file} reloaded; {text}{restart}")

    def _take_over(self, new: Config) -> None:
        fixed = {key: getattr(self.config.limits, key) for key in _FIXED_LIMITS}
        limits = new.limits.model_copy(update=fixed)
        taken = {key: getattr(new, key) for key in _CHANGEABLE} | {"limits": limits}
        self.config = config = self.config.model_copy(update=taken)
        self._pipeline.reconfigure(config.policy(), config.decoder_limits())
        if self._following is not None:
            self._following.reconfigure(config)
        self._metrics.reconfigure(config.vip_labels(), config.learned_vips)
        self._session.places.set_ports(config.ports)
        if self._evidence is not None:
            self._evidence.config = config


def changes(old: Config, new: Config) -> tuple[list[str], list[str]]:
    """Return the keys that differ: those which can be changed while running, and those which need a restart."""
    differing = _differing(old, new, "")
    if "limits" in differing:
        differing.remove("limits")
        differing += _differing(old.limits, new.limits, "limits.")
    fixed = [key for key in differing if not _is_changeable(key)]
    return [key for key in differing if key not in fixed], fixed


def _is_changeable(key: str) -> bool:
    table, _, inner = key.partition(".")
    return table in _CHANGEABLE and inner not in _FIXED_LIMITS


def _differing(old: BaseModel, new: BaseModel, prefix: str) -> list[str]:
    return [f"{prefix}{key}" for key in type(old).model_fields if getattr(old, key) != getattr(new, key)]
