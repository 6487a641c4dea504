"""The command line: `python -m dashboards.stack [--seconds N] [--declare-after N]`."""

from __future__ import annotations

import argparse
import sys

from dashboards.stack import story
from inspector.errors import InspectorError


def main() -> int:
    """Run the demonstration; every expected error is one line on standard error and exit status 1."""
    parser = argparse.ArgumentParser(prog="python -m dashboards.stack", description="Show alerts with real servers.")
    parser.add_argument("--seconds", type=float, help="end by itself so long after the alert has ended")
    parser.add_argument(
        "--declare-after",
        type=float,
        default=60.0,
        metavar="SECONDS",
        help="how long the alert may be looked at before the pool is declared (default 60)",
    )
    options = parser.parse_args()
    try:
        return story.run(options.seconds, options.declare_after)
    except InspectorError as error:
        print(f"demo-stack: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
