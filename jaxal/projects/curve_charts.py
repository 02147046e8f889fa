"""The honest curve as inline SVG: small charts with intervals that take a page's colours.

They are drawn here and not by matplotlib as the report's, because the page is written after every verb and served live: matplotlib takes a
second to load and its figures are not for the threads of a server.
"""

import html
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxal.assessment.intervals import Estimate

WIDTH, HEIGHT = 360, 200
LEFT, RIGHT, TOP, BOTTOM = 40, 18, 10, 34
APART = 26  # units between numbers below the axis


class Series(NamedTuple):
    """What a chart shows.

    Attributes:
      title: above it.
      points: labels that a round's network was trained on, and the estimate.
    """

    title: str
    points: Sequence[tuple[int, Estimate]]


def charts(series: Sequence[Series]) -> list[str]:
    """A figure of each series that has a number, all with the same axes, so that they can be compared by eye."""
    known = [part._replace(points=[point for point in part.points if not np.isnan(point[1].value)]) for part in series]
    known = [part for part in known if part.points]
    if not known:
        return []
    labels = [count for part in known for count, _ in part.points]
    lows = [estimate.value if np.isnan(estimate.low) else estimate.low for part in known for _, estimate in part.points]
    lowest = max(np.floor(min(lows) * 10 - 0.2) / 10, 0.0)
    across = (min(labels), max(labels)) if min(labels) < max(labels) else (min(labels) - 1, max(labels) + 1)
    return [_figure(part, across, lowest) for part in known]


def _figure(series: Series, across: tuple[int, int], lowest: float) -> str:
    def x(count: int) -> float:
        return round(LEFT + 8 + (count - across[0]) / (across[1] - across[0]) * (WIDTH - LEFT - RIGHT - 16), 1)

    def y(value: float) -> float:
        return round(TOP + (1 - value) / (1 - lowest) * (HEIGHT - TOP - BOTTOM), 1)

    steps = 0.1 if lowest >= 0.5 else 0.2
    grid = [tick for tick in np.round(np.arange(0, 1.01, steps), 1) if tick >= lowest]
    parts = [
        f'<path class="grid" d="M{LEFT} {y(tick)}H{WIDTH - RIGHT}"/><text x="{LEFT - 6}" y="{y(tick) + 4}" text-anchor="end">{tick:.1f}</text>'
        for tick in grid
    ]
    last = -np.inf
    for count in sorted({count for count, _ in series.points}):
        if x(count) - last >= APART:
            last = x(count)
            parts.append(f'<text x="{last}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{count}</text>')
    parts.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 4}" text-anchor="middle">labels trained on</text>')
    line = " ".join(f"{x(count)},{y(estimate.value)}" for count, estimate in series.points)
    parts.append(f'<polyline class="line" points="{line}"/>')
    for count, estimate in series.points:
        at, has_interval = x(count), not np.isnan(estimate.low)
        if has_interval:
            low, high = y(estimate.low), y(estimate.high)
            parts.append(f'<path class="range" d="M{at} {low}V{high}M{at - 4} {low}h8M{at - 4} {high}h8"/>')
        parts.append(f'<circle class="{"point" if has_interval else "point bare"}" cx="{at}" cy="{y(estimate.value)}" r="4"/>')
    told = "; ".join(f"{count} labels {in_numbers(estimate)}" for count, estimate in series.points)
    title = html.escape(series.title)
    return f'<figure><h4>{title}</h4><svg class="curve" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{title}: {told}">{"".join(parts)}</svg></figure>'


def in_numbers(estimate: Estimate, digits: int = 3) -> str:
    """An estimate with its interval, if it has one."""
    if np.isnan(estimate.value):
        return "not known"
    interval = "" if np.isnan(estimate.low) else f" ({estimate.low:.{digits}f} to {estimate.high:.{digits}f})"
    return f"{estimate.value:.{digits}f}{interval}".replace("-", "−")
