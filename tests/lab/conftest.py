"""The laboratory is built once for all tests of this folder, and the scenario played once."""

from __future__ import annotations

import contextlib
import importlib.util
from typing import TYPE_CHECKING

import pytest

from inspector.errors import LaboratoryError
from inspector.lab import nat64
from inspector.lab.gateway import Laboratory
from tests.conftest import require_tools, unavailable
from tests.lab.scenario import Scenario, play

if TYPE_CHECKING:
    from collections.abc import Iterator


def why_no_nat64() -> str | None:
    """Return why the laboratory's gateway cannot translate on this machine, or None."""
    try:
        nat64.check_requirements()
    except LaboratoryError as error:
        return str(error)
    return None


@pytest.fixture(scope="session")
def laboratory(root: None) -> Iterator[Laboratory]:  # noqa: ARG001 - asked for what it requires, not for a value
    """Build the laboratory gateway, with NAT64 where it can be had; skip with the reason where nothing can."""
    require_tools(["tcpdump", "rpcclient"])
    if importlib.util.find_spec("impacket") is None:
        unavailable("impacket is missing: pip install 'epm-inspector[lab]'")
    with contextlib.ExitStack() as stack:
        try:
            built = stack.enter_context(Laboratory(nat64=why_no_nat64() is None))
        except LaboratoryError as error:
            unavailable(str(error))
        yield built


@pytest.fixture(scope="session")
def scenario(
    laboratory: Laboratory,
    bpf: None,  # noqa: ARG001 - asked for what it requires, not for a value
    tmp_path_factory: pytest.TempPathFactory,
) -> Scenario:
    """Play the scenario: both clients ask for everything, once."""
    return play(laboratory, tmp_path_factory.mktemp("scenario"))
