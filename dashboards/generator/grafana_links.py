"""Links of dashboards and panels."""

from __future__ import annotations

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.dashboard import DashboardLink as LinkModel


class Link(dashboard.DashboardLink):
    """A link that is seen: the development kit would put every one into a menu."""

    def build(self) -> LinkModel:
        """Return the link, without the place that the development kit gives to all of them."""
        link = super().build()
        link.placement = None  # type: ignore[assignment]  # it is optional, and left out then
        return link
