"""`epm-inspector top`: a running inspector on the whole screen, asked over its own interface once a second."""

from __future__ import annotations

import http
import importlib.util
import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from inspector.errors import LibraryError, RunningError
from inspector.inspection.runtime import directories, find_running
from inspector.liveview.view import Source, look

_ANSWER_SECONDS: Final = 5.0
_ANSWER_BYTES: Final = 16 << 20


def find_sources(directory: Path | None = None) -> list[Source]:
    """Return the inspectors of this machine. Raises RunningError where none can be looked at."""
    running, hidden = find_running(directory)
    if not running:
        if hidden:
            raise hidden[0]
        looked = ", ".join(map(str, [directory] if directory is not None else directories()))
        raise RunningError(f"no inspector is running (looked in {looked}); --url shows an inspector on another machine")
    return [Source(f"process {one.pid}", one.ask_json) for one in running]


def remote(url: str) -> Source:
    """Return the inspector whose metrics are at an address, `https` with the certificates which this machine trusts."""
    base = url.rstrip("/").removesuffix("/metrics")
    if not base.startswith(("http://", "https://")):
        base = f"http://{base}"

    def ask(path: str) -> Any:
        try:
            with urllib.request.urlopen(base + path, timeout=_ANSWER_SECONDS) as answer:  # noqa: S310 - http or https
                if answer.status != http.HTTPStatus.OK:
                    raise RunningError(f"{base} answers {answer.status} to {path}")
                return json.loads(answer.read(_ANSWER_BYTES))
        except urllib.error.HTTPError as error:
            raise RunningError(f"{base} answers {error.code} to {path}") from None
        except (OSError, http.client.HTTPException, ValueError, RecursionError) as error:
            reason = getattr(error, "reason", error)
            raise RunningError(f"{base} cannot be asked: {reason}") from None

    return Source(base, ask)


def run(directory: Path | None, url: str | None) -> int:
    """Run the command until the user ends it. Raises RunningError where there is nothing to look at, LibraryError."""
    # Found, not loaded: loading takes longer than learning that no inspector runs.
    if importlib.util.find_spec("textual") is None:
        raise LibraryError("top: the Python package textual is not installed; install it: pip install 'textual>=1.0'")
    sources = [remote(url)] if url is not None else find_sources(directory)
    # Of an inspector far away the first answer says at once whether there is one.
    first = look(sources[0])
    # Only this command needs it.
    from inspector.liveview.screen import Screen

    Screen(sources, first).run()
    return 0
