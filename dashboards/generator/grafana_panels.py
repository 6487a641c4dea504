"""Panels in the form that Grafana reads: one function for each kind."""

from __future__ import annotations

from typing import Final, TypeVar

from grafana_foundation_sdk.builders import (
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    statetimeline,
    table,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    DataSourceRef,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardLinkType,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.dashboard import Panel as PanelModel
from grafana_foundation_sdk.models.prometheus import PromQueryFormat, QueryEditorMode

from dashboards.generator.grafana_links import Link
from dashboards.generator.panels import Panel, Query
from dashboards.generator.words import runbook_url

# Whichever Prometheus is chosen at the top of the dashboard.
DATASOURCE: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
_STACKED_OPACITY: Final = 40

AnyPanel = TypeVar("AnyPanel", timeseries.Panel, stat.Panel, statetimeline.Panel, table.Panel, heatmap.Panel)


def panel_of(panel: Panel, runbook: str) -> Builder[PanelModel]:
    """Return the builder of a panel; `runbook` is the runbook's address."""
    if panel.kind == "timeseries":
        return _common(_timeseries(panel), panel, runbook)
    if panel.kind == "stat":
        return _common(_stat(panel), panel, runbook)
    if panel.kind == "state-timeline":
        return _common(_state_timeline(panel), panel, runbook)
    if panel.kind == "table":
        return _common(_table(panel), panel, runbook)
    return _common(_heatmap(panel), panel, runbook)


def _common(builder: AnyPanel, panel: Panel, runbook: str) -> AnyPanel:
    """Add what every panel has."""
    builder = (
        builder.id(panel.number)
        .title(panel.title)
        .description(panel.description)
        .datasource(DATASOURCE)
        .unit(panel.unit)
        .span(panel.width)
        .height(panel.height)
        .targets([_query(query, chr(ord("A") + index), panel) for index, query in enumerate(panel.queries)])
    )
    if panel.highest is not None:
        builder = builder.max(panel.highest)
    if panel.steps:
        builder = builder.thresholds(
            dashboard.ThresholdsConfig()
            .mode(ThresholdsMode.ABSOLUTE)
            .steps([Threshold(value=value, color=colour) for value, colour in panel.steps])
        )
    if panel.runbook is not None:
        builder = builder.links([_runbook_link(runbook_url(runbook, panel.runbook))])
    return builder


def _runbook_link(url: str) -> Link:
    return Link("Runbook").type(DashboardLinkType.LINK).url(url).target_blank(True)


def _query(query: Query, ref_id: str, panel: Panel) -> prometheus.Dataquery:
    built = (
        prometheus.Dataquery()
        .ref_id(ref_id)
        .datasource(DATASOURCE)
        .editor_mode(QueryEditorMode.CODE)
        .expr(query.expression)
        .legend_format(query.legend)
    )
    if panel.kind == "table":
        return built.instant().format(PromQueryFormat.TABLE)
    if panel.kind == "stat":
        return built.instant()
    return built.range().format(PromQueryFormat.HEATMAP if panel.kind == "heatmap" else PromQueryFormat.TIME_SERIES)


def _timeseries(panel: Panel) -> timeseries.Panel:
    built = (
        timeseries.Panel()
        .min(0)
        .show_points(VisibilityMode.NEVER)
        .legend(_legend())
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING))
    )
    if panel.steps:
        built = built.thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.DASHED))
    if panel.stacked:
        built = built.stacking(common.StackingConfig().mode(StackingMode.NORMAL)).fill_opacity(_STACKED_OPACITY)
    for name, colour in (panel.colours or {}).items():
        fixed = {"mode": FieldColorModeId.FIXED.value, "fixedColor": colour}
        built = built.override_by_name(name, [DynamicConfigValue("color", fixed)])
    return built


def _legend() -> common.VizLegendOptions:
    return (
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(LegendDisplayMode.TABLE)
        .placement(LegendPlacement.BOTTOM)
        .calcs(["lastNotNull", "max"])
    )


def _stat(panel: Panel) -> stat.Panel:
    return (
        stat.Panel()
        .min(0)
        .no_value("no traffic" if panel.unit == "percentunit" else "none")
        .color_mode(BigValueColorMode.BACKGROUND)
        .graph_mode(BigValueGraphMode.NONE)
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
    )


def _state_timeline(panel: Panel) -> statetimeline.Panel:
    states = {
        f"{value:g}": ValueMappingResult(text=state.text, color=state.colour, index=index)
        for index, (value, state) in enumerate((panel.states or {}).items())
    }
    return (
        statetimeline.Panel()
        .mappings([ValueMap(options=states)])
        .color_scheme(dashboard.FieldColor().mode(FieldColorModeId.THRESHOLDS))
        .show_value(VisibilityMode.NEVER)
        .merge_values(True)
        .legend(_legend().display_mode(LegendDisplayMode.LIST).calcs([]))
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.SINGLE))
    )


def _table(panel: Panel) -> table.Panel:
    # With several queries Grafana calls the values `Value #A` and so on, with one alone `Value`.
    several = len(panel.queries) > 1
    names = {
        (f"Value #{key}" if several else "Value") if len(key) == 1 else key: title
        for key, title in (panel.columns or {}).items()
    }
    hidden = {"Time": True} | ({} if several or "Value" in names else {"Value": True})
    order = {name: position for position, name in enumerate(names)}
    built = table.Panel().with_transformation(DataTransformerConfig("merge", options={}))
    built = built.with_transformation(
        DataTransformerConfig(
            "organize", options={"excludeByName": hidden, "indexByName": order, "renameByName": names}
        )
    )
    first = names.get("Value #A" if several else "Value")
    if first is not None:
        built = built.sort_by([common.TableSortByFieldState().display_name(first).desc(True)])
    return built


def _heatmap(panel: Panel) -> heatmap.Panel:
    return (
        heatmap.Panel()
        .y_axis(heatmap.YAxisConfig().unit(panel.unit))
        .tooltip(heatmap.HeatmapTooltip().mode(TooltipDisplayMode.SINGLE).y_histogram(True))
    )
