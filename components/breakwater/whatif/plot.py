"""Equity curves as a small SVG file, and as one line of a terminal. Trips are marked where they happened."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from xml.sax.saxutils import escape

from breakwater.whatif.report import RunReport, WhatIfReport

Points = Sequence[tuple[datetime, Decimal]]

WIDTH, HEIGHT = 960, 480
LEFT, RIGHT, TOP, BOTTOM = 76, 24, 44, 74
COLOURS = ("#1f6feb", "#d9480f", "#2b8a3e", "#862e9c", "#0b7285", "#5c3d00")
"""Told apart by people who do not see red and green, too; the dashes help on paper."""
DASHES = ("", "7 4", "2 3", "10 3 2 3", "5 2", "1 3")
RECORDED = "#868e96"
_STEPS = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))
_TIME_STEPS = tuple(
    timedelta(minutes=minutes) for minutes in (5, 10, 15, 30, 60, 120, 240, 480, 720, 1440, 2880, 10080, 43200)
)
_BLOCKS = "▁▂▃▄▅▆▇█"


def sparkline(points: Points, width: int = 40) -> str:
    """A curve in ``width`` characters, from its own lowest to its own highest value. Empty for fewer than two points."""
    if len(points) < 2:
        return ""
    begin, span = points[0][0], points[-1][0] - points[0][0]
    columns: list[Decimal | None] = [None] * width
    for moment, value in points:
        columns[min(width - 1, int((moment - begin) / span * width)) if span else 0] = value
    low, high = min(value for _, value in points), max(value for _, value in points)
    shown, last = [], points[0][1]
    for column in columns:
        last = last if column is None else column
        height = int((last - low) / (high - low) * (len(_BLOCKS) - 1)) if high > low else 0
        shown.append(_BLOCKS[height])
    return "".join(shown)


def svg(report: WhatIfReport) -> str:
    """The whole picture: a curve for each run, the recorded one in grey, a cross at each trip."""
    curves = [(run.name, run.equity_curve) for run in report.runs]
    if report.recording is not None:
        curves.append(("recorded", report.recording.equity_curve))
    frame = _Frame(report.market.start, report.market.end, [value for _, points in curves for _, value in points])
    title = f"Equity in USDT, {', '.join(report.market.symbols)}, signals: {report.signals.source}"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}" '
        'font-family="system-ui, sans-serif" font-size="13" fill="#212529">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="26" font-size="15">{escape(title)}</text>',
        *frame.axes(),
    ]
    if report.recording is not None:
        parts.append(frame.line(report.recording.equity_curve, RECORDED, "", 1.2))
    parts += [
        frame.line(run.equity_curve, COLOURS[i % len(COLOURS)], DASHES[i % len(DASHES)], 2)
        for i, run in enumerate(report.runs)
    ]
    for i, run in enumerate(report.runs):
        parts += [frame.cross(run, trip.time, COLOURS[i % len(COLOURS)]) for trip in run.trips]
    return "\n".join([*parts, *_legend(report), "</svg>"]) + "\n"


class _Frame:
    """Where a time and a value lie on the picture."""

    def __init__(self, start: datetime, end: datetime, values: Sequence[Decimal]) -> None:
        self._start, self._end = start, end
        low, high = min(values), max(values)
        if low == high:
            low, high = low - 1, high + 1
        self._step = _step((high - low) / 5)
        self._low = (low / self._step).to_integral_value(ROUND_FLOOR) * self._step
        self._high = (high / self._step).to_integral_value(ROUND_CEILING) * self._step

    def x(self, moment: datetime) -> float:
        share = (moment - self._start) / (self._end - self._start)
        return round(LEFT + (WIDTH - LEFT - RIGHT) * min(max(share, 0.0), 1.0), 1)

    def y(self, value: Decimal) -> float:
        share = float((value - self._low) / (self._high - self._low))
        return round(HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share, 1)

    def axes(self) -> list[str]:
        parts = []
        value = self._low
        while value <= self._high:
            y = self.y(value)
            parts.append(f'<path d="M{LEFT} {y}H{WIDTH - RIGHT}" stroke="#e9ecef"/>')
            parts.append(f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{value:,f}</text>')
            value += self._step
        step = next((s for s in _TIME_STEPS if (self._end - self._start) / s <= 8), _TIME_STEPS[-1])
        midnight = self._start.replace(hour=0, minute=0, second=0, microsecond=0)
        moment = midnight + step * -((midnight - self._start) // step)
        with_day = step >= timedelta(days=1) or (self._end - self._start) > timedelta(days=1)
        while moment <= self._end:
            x = self.x(moment)
            parts.append(f'<path d="M{x} {HEIGHT - BOTTOM}v5" stroke="#868e96"/>')
            text = f"{moment:%m-%d %H:%M}" if with_day else f"{moment:%H:%M}"
            parts.append(f'<text x="{x}" y="{HEIGHT - BOTTOM + 19}" text-anchor="middle">{text}</text>')
            moment += step
        parts.append(f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" stroke="#868e96" fill="none"/>')
        return parts

    def line(self, points: Points, colour: str, dashes: str, width: float) -> str:
        way = "L".join(f"{self.x(moment)} {self.y(value)}" for moment, value in points)
        dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
        return (
            f'<path d="M{way}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linejoin="round"{dashed}/>'
        )

    def cross(self, run: RunReport, moment: datetime, colour: str) -> str:
        before = [value for time, value in run.equity_curve if time <= moment]
        after = [value for time, value in run.equity_curve if time >= moment]
        value = after[0] if after else before[-1]
        x, y = self.x(moment), self.y(value)
        hint = f"{run.name} tripped at {moment:%Y-%m-%d %H:%M:%S} UTC"
        return (
            f'<g stroke="{colour}" stroke-width="2.5"><title>{escape(hint)}</title>'
            f'<path d="M{x - 6} {y - 6}l12 12m0 -12l-12 12"/></g>'
        )


def _step(rough: Decimal) -> Decimal:
    """1, 2 or 5 times a power of ten, at least ``rough``."""
    power = Decimal(10) ** rough.adjusted()
    return next(power * factor for factor in _STEPS if power * factor >= rough)


def _legend(report: WhatIfReport) -> list[str]:
    entries = [
        (f"{run.name}: {run.final_equity:,} ({len(run.trips)} trip{'' if len(run.trips) == 1 else 's'})", i)
        for i, run in enumerate(report.runs)
    ]
    parts, x, y = [], LEFT, HEIGHT - 26
    for text, i in [*entries, *([("recorded", -1)] if report.recording is not None else [])]:
        needed = 44 + 7 * len(text)
        if x > LEFT and x + needed > WIDTH - 90:
            x, y = LEFT, y + 18
        colour = RECORDED if i < 0 else COLOURS[i % len(COLOURS)]
        dashes = f' stroke-dasharray="{DASHES[i % len(DASHES)]}"' if i > 0 else ""
        parts.append(f'<path d="M{x} {y - 4}h26" stroke="{colour}" stroke-width="2"{dashes}/>')
        parts.append(f'<text x="{x + 32}" y="{y}">{escape(text)}</text>')
        x += needed
    parts.append(f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 26}" text-anchor="end" fill="#868e96">× trip</text>')
    return parts
