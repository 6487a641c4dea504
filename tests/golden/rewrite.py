"""`python -m tests.golden.rewrite`: make all golden traces and baselines anew, and say what changed."""

from __future__ import annotations

from pathlib import Path

from tests.golden.store import GOLDEN, LABORATORY, baseline_of, made_files, trace_names


def _write(folder: Path, files: dict[str, bytes], kept_prefix: str | None) -> list[str]:
    """Make a folder hold these files and no others, but those whose name starts with the prefix; return the changes."""
    folder.mkdir(parents=True, exist_ok=True)
    changes = []
    for path in sorted(folder.iterdir()):
        if path.name not in files and not (kept_prefix and path.name.startswith(kept_prefix)):
            path.unlink()
            changes.append(f"removed {folder.name}/{path.name}")
    for name, content in sorted(files.items()):
        path = folder / name
        before = path.read_bytes() if path.exists() else None
        if before != content:
            path.write_bytes(content)
            changes.append(f"{'made' if before is None else 'changed'} {folder.name}/{name}")
    return changes


def rewrite(golden: Path = GOLDEN) -> list[str]:
    """Bring traces and baselines up to date; laboratory captures stay, their baselines follow. Return the changes."""
    changes = _write(golden / "traces", made_files(), kept_prefix=LABORATORY)
    baselines: dict[str, bytes] = {}
    for name in trace_names(golden):
        baselines |= {file: text.encode() for file, text in baseline_of(name, golden).items()}
    return changes + _write(golden / "baselines", baselines, kept_prefix=None)


if __name__ == "__main__":
    for change in rewrite():
        print(change)
