"""All cases with what is expected of them: importing this registers them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.cases import (  # noqa: F401  # each registers its cases
    answers,
    connections,
    gateways,
    healthy,
    healthy_captures,
    healthy_clients,
    variants,
    variants_endpoints,
    variants_more,
)
from tests.cases.case import CASES
from tests.cases.expected import EXPECTED
from tests.cases.expected_healthy import EXPECTED_OF_HEALTHY
from tests.cases.expected_more import EXPECTED_MORE
from tests.cases.expected_variants import EXPECTED_OF_VARIANTS

if TYPE_CHECKING:
    from tests.cases.expected import Expected

__all__ = ["CASES", "EXPECTED", "EXPECTED_OF_ALL"]

EXPECTED_OF_ALL: Final[dict[str, tuple[Expected, ...]]] = (
    EXPECTED | EXPECTED_OF_VARIANTS | EXPECTED_MORE | EXPECTED_OF_HEALTHY
)
