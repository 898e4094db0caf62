"""The few kinds of panel that the dashboards are made of, by Grafana's own types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from grafana_foundation_sdk.builders import bargauge, common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog import builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models.dashboard import (
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    DataTransformerConfig,
    DynamicConfigValue,
    FieldColorModeId,
    Panel,
    Threshold,
    ThresholdsMode,
    VariableOption,
    VariableRefresh,
    VariableSort,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

USD, SECONDS, RATIO, COUNT, BYTES, EACH_SECOND = "currencyUSD", "s", "percentunit", "short", "bytes", "cps"
DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

# A threshold: from this value on, this color. The first one's value is None: from the bottom.
Steps = Sequence[tuple[float | None, str]]
PLAIN: Steps = ((None, "blue"),)
MORE_IS_WORSE: Steps = ((None, "green"), (0.8, "orange"), (0.95, "red"))
MORE_IS_BETTER: Steps = ((None, "red"), (0.7, "orange"), (0.85, "green"))

P = TypeVar("P", stat.Panel, timeseries.Panel, bargauge.Panel, table.Panel)


def _dress(panel: P, title: str, description: str, unit: str, width: int, height: int, steps: Steps) -> P:
    colors = [Threshold(value=value, color=color) for value, color in steps]
    thresholds = dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(colors)
    panel.title(title).description(description).unit(unit).datasource(DATASOURCE)
    panel.span(width).height(height).thresholds(thresholds)
    return panel


def _query(expr: str, letter: str) -> prometheus.Dataquery:
    return prometheus.Dataquery().expr(expr).ref_id(letter).datasource(DATASOURCE)


def _last() -> common.ReduceDataOptions:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")


def figure(
    title: str,
    description: str,
    expr: str,
    unit: str,
    *,
    width: int = 4,
    height: int = 4,
    decimals: int | None = None,
    steps: Steps = PLAIN,
    legend: str = "",
) -> stat.Panel:
    """One number, of now. With a ``legend``, the label's value is shown in place of the number."""
    panel = _dress(stat.Panel(), title, description, unit, width, height, steps)
    query = _query(expr, "A").instant()
    panel.with_target(query.legend_format(legend) if legend else query)
    panel.reduce_options(_last()).color_mode(shapes.BigValueColorMode.VALUE).graph_mode(shapes.BigValueGraphMode.NONE)
    panel.text_mode(shapes.BigValueTextMode.NAME if legend else shapes.BigValueTextMode.AUTO)
    panel.no_value("none")
    return panel if decimals is None else panel.decimals(decimals)


def curves(
    title: str,
    description: str,
    queries: Sequence[tuple[str, str]],
    unit: str,
    *,
    width: int = 12,
    height: int = 8,
    stacked: bool = False,
    most: float | None = None,
    days: int | None = None,
) -> timeseries.Panel:
    """(expression, legend) over time. ``days``: bars of a day each, for so many days whatever range is chosen."""
    panel = _dress(timeseries.Panel(), title, description, unit, width, height, PLAIN)
    for letter, (expr, legend) in zip("ABCDEF", queries, strict=False):
        query = _query(expr, letter).range().legend_format(legend)
        panel.with_target(query.interval("1d") if days else query)
    panel.min(0).line_width(1).fill_opacity(70 if days else 30 if stacked else 5).show_points(
        shapes.VisibilityMode.NEVER
    )
    panel.color_scheme(dashboard.FieldColor().mode(FieldColorModeId.PALETTE_CLASSIC))
    panel.legend(
        common.VizLegendOptions()
        .display_mode(shapes.LegendDisplayMode.LIST)
        .placement(shapes.LegendPlacement.BOTTOM)
        .show_legend(True)
        .calcs([])
    )
    panel.tooltip(common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING))
    if stacked:
        panel.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if days:
        panel.draw_style(shapes.GraphDrawStyle.BARS).time_from(f"{days}d")
    return panel if most is None else panel.max(most)


def bars(
    title: str,
    description: str,
    queries: Sequence[tuple[str, str]],
    unit: str,
    *,
    width: int = 12,
    height: int = 8,
    steps: Steps = PLAIN,
) -> bargauge.Panel:
    """A bar a series, of now."""
    panel = _dress(bargauge.Panel(), title, description, unit, width, height, steps)
    for letter, (expr, legend) in zip("ABCDEF", queries, strict=False):
        panel.with_target(_query(expr, letter).instant().legend_format(legend))
    panel.orientation(shapes.VizOrientation.HORIZONTAL).display_mode(shapes.BarGaugeDisplayMode.BASIC).min(0)
    return panel.reduce_options(_last()).show_unfilled(True).value_mode(shapes.BarGaugeValueMode.COLOR)


def listing(
    title: str,
    description: str,
    columns: Mapping[str, tuple[str, str]],
    labels: Sequence[str],
    *,
    width: int = 24,
    height: int = 8,
    link: tuple[str, str, str] | None = None,
) -> table.Panel:
    """A row for each set of ``labels``. ``columns``: heading to (expression, unit); sorted by the first, largest on top.

    ``link``: (label whose cells lead on, text, address)."""
    panel = _dress(table.Panel(), title, description, COUNT, width, height, PLAIN)
    names, order = {}, {label: at for at, label in enumerate(labels)}
    for at, (letter, (heading, (expr, unit))) in enumerate(zip("ABCDEFGH", columns.items(), strict=False)):
        panel.with_target(_query(expr, letter).instant().format(PromQueryFormat.TABLE))
        value = "Value" if len(columns) == 1 else f"Value #{letter}"
        names[value], order[value] = heading, len(labels) + at
        panel.override_by_name(heading, [DynamicConfigValue("unit", unit)])
    if link:
        label, text, address = link
        target = {"title": text, "url": address}
        panel.override_by_name(label, [DynamicConfigValue("links", [target])])
    panel.with_transformation(DataTransformerConfig(id_val="merge", options={}))
    panel.with_transformation(
        DataTransformerConfig(
            id_val="organize",
            options={"excludeByName": {"Time": True, "kind": True}, "renameByName": names, "indexByName": order},
        )
    )
    first = next(iter(columns))
    return panel.sort_by([common.TableSortByFieldState().display_name(first).desc(True)]).show_header(True)


def choice(name: str, label: str, query: str, *, several: bool = False) -> dashboard.QueryVariable:
    """A variable whose values are a label's, looked up whenever the time range changes."""
    variable = dashboard.QueryVariable(name).label(label).query(query).datasource(DATASOURCE)
    variable.refresh(VariableRefresh.ON_TIME_RANGE_CHANGED).sort(VariableSort.ALPHABETICAL_ASC)
    if several:
        everything = VariableOption(selected=True, text=["All"], value=["$__all"])
        variable.multi(True).include_all(True).all_value(".*").current(everything)
    return variable


Rows = Mapping[str, Sequence[builder.Builder[Panel]]]


def board(
    uid: str,
    title: str,
    description: str,
    variables: Sequence[dashboard.QueryVariable],
    rows: Rows,
    *,
    since: str,
) -> Dashboard:
    made = dashboard.Dashboard(f"Paceline / {title}").uid(uid).description(description).tags(["paceline"])
    made.timezone("browser").time(since, "now").refresh("1m").readonly().tooltip(DashboardCursorSync.CROSSHAIR)
    made.link(dashboard.DashboardLink("Paceline").type(DashboardLinkType.DASHBOARDS).tags(["paceline"]).keep_time(True))
    made.with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    for variable in variables:
        made.with_variable(variable)
    for heading, panels in rows.items():
        made.with_row(dashboard.Row(heading))
        for panel in panels:
            made.with_panel(panel)
    built = made.build()
    for number, each in enumerate(built.panels or [], start=1):
        each.id_val = number
    return built
