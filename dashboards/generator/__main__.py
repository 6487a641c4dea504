"""The command line of the generator: `python -m dashboards.generator [--output DIR] [--runbook URL] ...`."""

from __future__ import annotations

import argparse
from pathlib import Path

from dashboards.generator.files import Settings, write

DASHBOARDS = Path(__file__).parents[1]


def main() -> None:
    """Write all files: into dashboards/ itself, or elsewhere with the settings of one installation."""
    usual = Settings()
    parser = argparse.ArgumentParser(prog="python -m dashboards.generator", description="Write dashboards and alerts.")
    parser.add_argument(
        "--output", type=Path, default=DASHBOARDS, metavar="DIR", help="where to (default: %(default)s)"
    )
    parser.add_argument("--runbook", default=usual.runbook, metavar="URL", help="where docs/runbook.md is published")
    parser.add_argument("--prometheus-url", default=usual.prometheus_url, metavar="URL", help="as Grafana reaches it")
    parser.add_argument(
        "--datasource-uid", default=usual.datasource_uid, metavar="UID", help="of Grafana's data source"
    )
    parser.add_argument("--scrape-interval", default=usual.scrape_interval, metavar="TIME", help="that of Prometheus")
    parser.add_argument("--dashboard-folder", default=usual.dashboard_folder, metavar="DIR", help="on Grafana's server")
    options = vars(parser.parse_args())
    write(options.pop("output"), Settings(**options))


if __name__ == "__main__":
    main()
