"""What a scenario is to show: lines which its findings must have, and none beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from inspector.consequence import Cause, FindingKind, Outcome, Target
from inspector.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_KEYS: Final = ("kind", "verdict", "outcome", "target", "cause")


class Expected(NamedTuple):
    """Findings that must come at least once. None leaves a part open, but a cause that is None must be missing.

    `words` are in the reason, the remedy or the evidence. An `optional` one may be missing.
    """

    kind: FindingKind
    verdict: Verdict | None = None
    outcome: Outcome | None = None
    target: Target | None = None
    cause: Cause | None = None
    words: tuple[str, ...] = ()
    optional: bool = False

    def fits(self, finding: dict[str, Any]) -> bool:
        """Return whether a finding's JSON form is one of these."""
        if finding.get("cause") != self.cause:
            return False
        if any(value is not None and finding.get(key) != value for key, value in zip(_KEYS, self[:5], strict=True)):
            return False
        text = "; ".join((finding["why"], finding.get("remedy", ""), *finding.get("evidence_seen", ())))
        return all(word in text for word in self.words)

    def __str__(self) -> str:
        """Return it in one line."""
        words = [str(value) for value in self[1:5] if value is not None]
        quoted = [f'"{word}"' for word in self.words]
        return " ".join((f"{self.kind}:", *words, *quoted))


def complaints(expected: Sequence[Expected], findings: Iterable[dict[str, Any]]) -> list[str]:
    """Return a description of the missing and of the unexpected findings."""
    found = list(findings)
    missing = [
        f"missing: {one}" for one in expected if not one.optional and not any(one.fits(finding) for finding in found)
    ]
    surplus = [
        "unexpected: " + " ".join(str(finding[key]) for key in (*_KEYS, "why") if key in finding)
        for finding in found
        if not any(one.fits(finding) for one in expected)
    ]
    return missing + surplus


def answered(verdict: Verdict, cause: Cause | None = None, *words: str, optional: bool = False) -> Expected:
    """Return answers of the endpoint mapper."""
    return Expected(FindingKind.ANSWER, verdict, cause=cause, words=words, optional=optional)


def reached(target: Target = Target.ASKED) -> Expected:
    """Return that clients got through."""
    return Expected(FindingKind.FOLLOW_UP, outcome=Outcome.REACHED, target=target)


def failed(outcome: Outcome, cause: Cause, *words: str, target: Target = Target.ASKED) -> Expected:
    """Return the expectation that clients did not reach the endpoint."""
    return Expected(FindingKind.FOLLOW_UP, None, outcome, target, cause, words)


def lost(verdict: Verdict, cause: Cause, *words: str) -> Expected:
    """Return that answers did not reach the clients."""
    return Expected(FindingKind.DELIVERY, verdict, Outcome.UNDELIVERED, None, cause, words)


def no_connection(outcome: Outcome, cause: Cause, *words: str) -> Expected:
    """Return that clients did not get through to port 135."""
    return Expected(FindingKind.CONNECTION, Verdict.UNANSWERED, outcome, None, cause, words)


def unanswered(cause: Cause, *words: str) -> Expected:
    """Return that questions stayed without answer on open connections."""
    return Expected(FindingKind.ANSWER, Verdict.UNANSWERED, Outcome.BROKEN, None, cause, words)
