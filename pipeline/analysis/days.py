"""Tables of schema analysis about time: usage_anomalies, cost_forecast, time_profile, burstiness, day_patterns.

Belongs here: daily and hourly sums of segments, and the rows of these tables. Does not belong here: the rules and
forecasts (`stats.anomalies`, `stats.forecast`), the exact split of an excess (`stats.decomposition`), rates by kind
(`causes`).

Between a segment's first day and the last day of the history, days without usage count as 0. The last day counts as
complete.
"""

from __future__ import annotations

import datetime as dt
import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

import duckdb
import numpy as np
import pyarrow as pa

from pipeline.analysis.causes import Lines, RateRatios, comparable, priced, tokens_of
from pipeline.analysis.measures import (
    COUNT,
    FLAG,
    MEASURE,
    MEASURES,
    NUMBER,
    SEGMENT,
    TEXT,
    TIME,
    Measure,
    Segment,
    as_table,
    costliest_segments,
    described_field,
    described_schema,
    query_segments,
    unavailable,
)
from pipeline.analysis.stats.anomalies import (
    CENTRED_WEEKS,
    FALSE_ALARM_RATE,
    MIN_STL_DAYS,
    TREE_RATE,
    WEEK,
    DayScores,
    benjamini_hochberg,
    flagged_together,
    stl_days,
    weekday_days,
)
from pipeline.analysis.stats.decomposition import RESOLUTION_USD, explain_excess
from pipeline.analysis.stats.describe import Floats
from pipeline.analysis.stats.forecast import BANDS, BUDGETS, Outlook
from pipeline.settings import Settings
from pipeline.store.connection import Row
from pipeline.words import counted

FALSE_DISCOVERY_RATE = 0.05
ONLINE_DAYS = 52 * WEEK  # the latest days, each tested against earlier days only
# Adtributor (Bhagwan and others, NSDI 2014): the segments of a dimension that make up a flagged day's excess.
LEAST_PART, ENOUGH_PARTS = 0.10, 0.67
NOT_UNUSUAL = 0.05  # p-value in the light of later days, from which on a flag is taken back
NEW_AFTER_DAYS = 4 * WEEK  # of the history: what appears earlier was there before
NEW_DAYS = 3  # the first days of a new segment
NEW_SHARE = 0.10  # of the cost of those days
REFERENCE_DAYS = 4  # same weekdays, whose usage is what an expected day is made of
MAX_PROFILE_SEGMENTS = 10  # the most expensive ones besides `all`, 168 rows each
MIN_PROFILE_WEEKS = 2
MIN_PATTERN_WEEKS = 4
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
DATE = pa.date32()

SCHEMAS: dict[str, pa.Schema] = {
    "usage_anomalies": described_schema(
        "Days that were unusually expensive for their segment, each split by cause. A segment without such a day, or "
        "with too short a history, has one row without a date",
        [
            described_field("usage_date", DATE, "The flagged day (UTC); null where none is flagged"),
            SEGMENT,
            MEASURE,
            described_field(
                "kind",
                TEXT,
                "shock: one expensive day; level_shift: more expensive from then on; new_segment: a key, model, user, "
                "workspace or project that has just appeared. Null where no day is flagged",
            ),
            described_field("value", NUMBER, "Cost of the day, USD; of a level shift, the mean of its days so far"),
            described_field("expected", NUMBER, "Cost expected from the segment's history, USD"),
            described_field("excess", NUMBER, "value - expected, USD"),
            described_field(
                "score", NUMBER, "Robust z of log cost; the factor of a level shift; null for other methods"
            ),
            described_field(
                "method",
                TEXT,
                "weekday: the day against the median of earlier same weekdays; stl: against the closed history, trend "
                "and weekly season (STL), z above 5; where idle days are common, both use the median of nearby days "
                "with usage. part_of_all: the segments of a dimension that make up two thirds of the excess of a "
                "flagged day of all. cusum: the errors of several days add up. first_days: cost of the first three "
                "days. A flag needs an excess above anomaly_floor_usd, 30% and half a usual day, and a p-value of at "
                f"most {FALSE_ALARM_RATE} for all; among the segments of a day false discoveries are held at "
                f"{TREE_RATE:.2%} (Benjamini-Hochberg)",
            ),
            described_field(
                "raised_on",
                DATE,
                "The day whose data raised the flag; it stays. Null for stl, which also uses later days",
            ),
            described_field("taken_back", TEXT, "Why later days no longer support the flag; null where they do"),
            described_field(
                "p_value", NUMBER, "Chance of so expensive a day without a cause; null for shifts and new segments"
            ),
            described_field(
                "contributions",
                TEXT,
                "JSON of USD by cause: sessions, requests_per_session, tokens_per_request, model_mix, cache_share, "
                "price; they add up exactly to the excess. The baseline is the last four same weekdays (the nearest "
                "other days where these had no usage), scaled to the expected cost. Where a source counts no sessions "
                "or requests, the next cause includes their change",
            ),
            described_field(
                "top_sessions", TEXT, "JSON list of the ten most expensive sessions that started on the day: id and USD"
            ),
            described_field("note", TEXT, "Why no day is listed; else null"),
        ],
    ),
    "cost_forecast": described_schema(
        "Forecast cost of the current month, or of the next one where the history ends on a month's last day",
        [
            SEGMENT,
            described_field("month", DATE, "First day of the forecast month (UTC)"),
            described_field("as_of", DATE, "Last day of the history, assumed complete"),
            described_field(
                "method",
                TEXT,
                "weekday: the last four same weekdays, grown by the trend of the last weeks, with the month ends of "
                "earlier months; one distribution, whose spread past errors correct",
            ),
            described_field("so_far", NUMBER, "Cost of the month up to as_of, USD"),
            described_field("point", NUMBER, "Forecast of the whole month, USD: the mean of its distribution"),
            described_field("low_80", NUMBER, "Lower end of the 80% interval, USD; null below six weeks of history"),
            described_field("high_80", NUMBER, "Upper end of the 80% interval, USD"),
            described_field("low_95", NUMBER, "Lower end of the 95% interval, USD"),
            described_field("high_95", NUMBER, "Upper end of the 95% interval, USD"),
            described_field(
                "budget_80",
                NUMBER,
                "A budget that is enough with a chance of 80%, USD (one-sided); null where the history is too short "
                "for a budget, or past months exceeded theirs too often (see note)",
            ),
            described_field("budget_95", NUMBER, "A budget that is enough with a chance of 95%, USD (below high_95)"),
            described_field("budget_99", NUMBER, "A budget that is enough with a chance of 99%, USD"),
            described_field(
                "next_month", DATE, "The first month that is wholly ahead; the month itself on a month's last day"
            ),
            described_field(
                "next_point", NUMBER, "Forecast of next_month, USD. Contracts are priced on its distribution"
            ),
            described_field("next_budget_80", NUMBER, "Budget of next_month, 80%, USD"),
            described_field(
                "next_budget_95", NUMBER, "Budget of next_month, 95%, USD: var_95 of per_token in pricing_risk"
            ),
            described_field(
                "next_budget_99", NUMBER, "Budget of next_month, 99%, USD: var_99 of per_token in pricing_risk"
            ),
            described_field("backtest_hits", COUNT, "Past months that ended inside their 80% interval as of day 10"),
            described_field("backtest_months", COUNT, "Past months that could be forecast on day 10"),
            described_field("backtest_budgets", COUNT, "Past months that had a budget on day 10"),
            described_field("backtest_over_80", COUNT, "Of these, months that cost more than their 80% budget"),
            described_field("backtest_over_budget", COUNT, "Of these, months that cost more than their 95% budget"),
            described_field("backtest_over_99", COUNT, "Of these, months that cost more than their 99% budget"),
            described_field("backtest_low", NUMBER, "Lower end of the 95% interval (Clopper-Pearson) of the hit rate"),
            described_field("backtest_high", NUMBER, "Upper end of it"),
            described_field(
                "backtest_over_low", NUMBER, "Lower end of the 95% interval of the share above the 95% budget"
            ),
            described_field("backtest_over_high", NUMBER, "Upper end of it"),
            described_field(
                "note", TEXT, "Why there is no forecast, interval or budget, or why to doubt the budget; else null"
            ),
        ],
    ),
    "time_profile": described_schema(
        "Requests (sessions where no requests are logged) per hour, by weekday and hour; all and the ten most "
        "expensive segments",
        [
            SEGMENT,
            described_field(
                "measure", TEXT, "request_count or session_count; null in a row that says why there is none"
            ),
            described_field("weekday", COUNT, "1 Monday to 7 Sunday (UTC)"),
            described_field("hour", COUNT, "0 to 23 (UTC)"),
            described_field(
                "mean", NUMBER, "Mean count of this hour over the weeks of the history, idle ones included"
            ),
            described_field(
                "low",
                NUMBER,
                "Lower end of the 95% interval of the mean: negative binomial, one dispersion for a segment",
            ),
            described_field("high", NUMBER, "Upper end; above zero even where nothing was observed"),
            described_field("weeks", COUNT, "How often the history contains this hour of the week"),
            described_field("dispersion", NUMBER, "(variance - mean) / mean squared; 0 for Poisson counts"),
            described_field("note", TEXT, "Why there is no profile; else null"),
        ],
    ),
    "burstiness": described_schema(
        "How unevenly requests (else sessions) arrive over the minutes of a segment's days: 1 is random, more is "
        "bursty, and capacity bought by the minute must cover the bursts",
        [
            SEGMENT,
            described_field("measure", TEXT, "request_count or session_count per minute; null where there is none"),
            described_field("minutes", COUNT, "Minutes from the first to the last day, idle ones included"),
            described_field("busy_minutes", COUNT, "Minutes with at least one"),
            described_field("mean", NUMBER, "Mean count per minute"),
            described_field("variance", NUMBER, "Variance of the count (n - 1)"),
            described_field("variance_to_mean", NUMBER, "Index of dispersion; 1 for independent arrivals"),
            described_field("peak", COUNT, "Highest count of a minute"),
            described_field("peak_at", TIME, "The first minute with that count, UTC"),
            described_field("note", TEXT, "Why there is nothing to count; else null"),
        ],
    ),
    "day_patterns": described_schema(
        "Patterns of daily cost over weeks, with their evidence: peak, trend, season, each weekday",
        [
            SEGMENT,
            described_field(
                "pattern",
                TEXT,
                "peak_to_typical: most expensive day / median day; trend: change per week, as a share (Theil-Sen on "
                "logs of weeks); trend_strength, seasonal_strength: share of variance that STL assigns to it; Monday "
                "to Sunday: cost of that day / typical day of the week. Null in a row that says why there is none",
            ),
            described_field("value", NUMBER, "The ratio, share or strength"),
            described_field("low", NUMBER, "Lower end of its 95% interval; null where none is computed"),
            described_field("high", NUMBER, "Upper end of it"),
            described_field("p_value", NUMBER, "trend: Kendall's tau of weeks; weekdays: t-test on logs; else null"),
            described_field(
                "is_evident",
                FLAG,
                "Whether it passes false-discovery control (5%) over all weekdays and trends of all segments",
            ),
            described_field("observations", COUNT, "Number of days or weeks used"),
            described_field("note", TEXT, "Why there is no pattern; else null"),
        ],
    ),
}


@dataclass(frozen=True)
class Series:
    """Daily cost of a segment from its first day to the last day of the history, USD."""

    segment: Segment
    first_day: dt.date
    days: Floats

    def date(self, place: int) -> dt.date:
        """The date at an index of the array."""
        return self.first_day + dt.timedelta(days=place)


def daily_series(connection: duckdb.DuckDBPyConnection, limit: int) -> tuple[list[Segment], list[Series]]:
    """Segments of day_cost_usd, and the series of those with a cost."""
    measure = MEASURES["day_cost_usd"]
    segments = costliest_segments(connection, measure, limit)
    daily_costs: dict[str, dict[dt.date, float]] = defaultdict(dict)
    if valued := [segment for segment in segments if segment.n]:
        for place, day, cost in query_segments(connection, "days", measure, valued).fetchall():
            daily_costs[valued[place].name][day] = max(cost, 0.0)
    last = max((max(costs) for costs in daily_costs.values()), default=None)
    series = []
    for segment in segments:
        if (costs := daily_costs.get(segment.name)) and last:
            days = np.zeros((last - min(costs)).days + 1)
            for day, cost in costs.items():
                days[(day - min(costs)).days] = cost
            series.append(Series(segment, min(costs), days))
    return segments, series


def _no_cost(segments: Sequence[Segment]) -> str:
    return f"unavailable: {unavailable(MEASURES['day_cost_usd'], segments[0])}."


# ---------------------------------------------------------------------------------------------------- anomalies


@dataclass(frozen=True)
class _Flag:
    """A flagged day of a series; `place` is its index there."""

    series: Series
    place: int
    kind: str
    method: str
    value: float
    expected: float
    score: float | None = None
    p_value: float | None = None
    raised_on: dt.date | None = None
    taken_back: str | None = None

    @property
    def day(self) -> dt.date:
        return self.series.date(self.place)

    @property
    def excess(self) -> Decimal:
        return _usd(self.value) - _usd(self.expected)


def _usd(value: float) -> Decimal:
    return Decimal(repr(float(value))).quantize(RESOLUTION_USD)


def _flags(series: Sequence[Series], floor_usd: float) -> list[_Flag]:
    """Flagged days of all series, level shifts and new segments.

    The whole is tested first, on its own; a flagged day of it is handed down to the segments that make it up. Single
    segments are tested together: a rule that is wrong on 1 day in 200 is acceptable for one series, and over fifty
    series it would be wrong every fourth day.
    """
    closed = [stl_days(each.days, floor_usd) for each in series]
    online = [weekday_days(each.days, floor_usd, ONLINE_DAYS) for each in series]
    shocks: dict[tuple[str, dt.date], _Flag] = {}
    for rule in (online, closed):  # where both see a day, the one that could see it at once
        for each, scores, hindsight, together in zip(series, rule, closed, flagged_together(rule), strict=True):
            is_flagged = together | scores.flagged if each.segment.dimension == "all" else together
            for place in np.flatnonzero(is_flagged):
                shock = _shock(each, scores, int(place), hindsight)
                shocks.setdefault((each.segment.name, shock.day), shock)
    flags = list(shocks.values())
    flags += [flag for each, scores in zip(series, online, strict=True) for flag in _shifts(each, scores)]
    if not series or series[0].segment.dimension != "all":
        return flags  # nothing has a price in the channel in force, so there is no whole
    whole, parts = series[0], series[1:]
    flags += [flag for each in parts if (flag := _new_segment(each, whole, floor_usd))]
    for flag in [flag for flag in shocks.values() if flag.series is whole]:
        found = _parts(flag, parts, online[1:])
        flags += [part for part in found if (part.series.segment.name, part.day) not in shocks]
    return flags


def _shock(series: Series, scores: DayScores, place: int, closed: DayScores) -> _Flag:
    is_online = scores.method == "weekday"
    return _Flag(
        series,
        place,
        "shock",
        scores.method,
        value=float(series.days[place]),
        expected=float(scores.expected[place]),
        score=float(scores.z[place]),
        p_value=float(scores.p_value[place]),
        raised_on=series.date(place) if is_online else None,
        taken_back=_taken_back(series, place, closed) if is_online else None,
    )


def _taken_back(series: Series, place: int, closed: DayScores) -> str | None:
    """What speaks against a flag once four weeks have passed: a p-value of the closed history that is not small."""
    later = len(series.days) - 1 - place
    p_value = float(closed.p_value[place])
    if later < CENTRED_WEEKS * WEEK or not p_value > NOT_UNUSUAL:
        return None
    return f"In the light of the {later} days after it, the day was not unusual (p = {p_value:.2f})."


def _shifts(series: Series, online: DayScores) -> Iterator[_Flag]:
    for shift in online.shifts:
        days = series.days[shift.first : shift.shown + 1]
        value = float(days.mean())
        yield _Flag(
            series,
            shift.first,
            "level_shift",
            "cusum",
            value=value,
            expected=value / shift.factor,
            score=shift.factor,
            raised_on=series.date(shift.shown),
        )


def _new_segment(series: Series, whole: Series, floor_usd: float) -> _Flag | None:
    """The first day on which the cost of a new segment since its first one is worth a word."""
    first = (series.first_day - whole.first_day).days
    if first < NEW_AFTER_DAYS:
        return None
    of_all = whole.days[first:]
    for place in range(min(NEW_DAYS, len(series.days))):
        so_far = float(series.days[: place + 1].sum())
        if so_far > max(floor_usd, NEW_SHARE * float(of_all[: place + 1].sum())):
            return _Flag(
                series, place, "new_segment", "first_days", float(series.days[place]), 0.0, raised_on=series.date(place)
            )
    return None


def _parts(flag: _Flag, parts: Sequence[Series], online: Sequence[DayScores]) -> Iterator[_Flag]:
    """For each dimension, the fewest segments that make up most of a flagged day's excess."""
    whole = flag.value - flag.expected
    by_dimension: dict[str, list[_Flag]] = defaultdict(list)
    for part, scores in zip(parts, online, strict=True):
        place = (flag.day - part.first_day).days
        if place < 0:
            continue
        expected = float(np.nan_to_num(scores.expected[place]))
        child = replace(
            flag, series=part, place=place, method="part_of_all", value=float(part.days[place]), expected=expected,
            score=None,
        )  # fmt: skip
        if child.value - expected > LEAST_PART * whole:
            by_dimension[part.segment.dimension].append(child)
    for children in by_dimension.values():
        explained = 0.0
        for child in sorted(children, key=lambda each: -each.excess):
            if explained < ENOUGH_PARTS * whole:
                explained += child.value - child.expected
                yield child


class _Days:
    """Usage by model and sessions of the flagged days and their reference days."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, flags: Sequence[_Flag]) -> None:
        self.ratios = RateRatios(connection)
        self.lines: dict[tuple[str, dt.date], Lines] = {}
        self.sessions: dict[tuple[str, dt.date], tuple[int, list[Row]]] = {}
        self.flagged = {(flag.series.segment.name, flag.day) for flag in flags}
        if flags:
            self._read(connection, flags)

    def reference(self, flag: _Flag) -> list[dt.date]:
        """Unflagged days with usage: the same weekdays before, then after; without any, the nearest other days."""
        flagged, days = flag.place, flag.series.days
        same_weekdays = [*range(flagged - WEEK, -1, -WEEK), *range(flagged + WEEK, len(days), WEEK)]
        others = (place for place in range(len(days)) if place != flagged)
        nearest = sorted(others, key=lambda place: abs(place - flagged))
        name = flag.series.segment.name
        for places in (same_weekdays, nearest):
            usable = [flag.series.date(place) for place in places if days[place] > 0]
            if reference := [day for day in usable if (name, day) not in self.flagged][:REFERENCE_DAYS]:
                return reference
        return []

    def _read(self, connection: duckdb.DuckDBPyConnection, flags: Sequence[_Flag]) -> None:
        segments = list({flag.series.segment.name: flag.series.segment for flag in flags}.values())
        days = sorted({day for flag in flags for day in (flag.day, *self.reference(flag))})
        from_console = set()
        measure = MEASURES["day_cost_usd"]
        for row in _rows(
            query_segments(connection, "day_lines", measure, segments, observations="usage_lines", days=days)
        ):
            segment_day = (segments[row["segment"]].name, row["usage_date"])
            lines = self.lines.setdefault(segment_day, Lines(requests=0))
            lines.cost_usd += row["cost_usd"]
            known = lines.requests is not None and row["requests"] is not None
            lines.requests = (lines.requests or 0) + row["requests"] if known else None
            model = (row["provider"], row["model"])
            ratios = self.ratios.of(*model, row["usage_date"])
            lines.models[model] = priced(tokens_of(row), float(row["cost_usd"]), ratios)
            if row["from_console"]:
                from_console.add(segment_day)
        measure = MEASURES["session_cost_usd"]
        for row in _rows(query_segments(connection, "day_sessions", measure, segments, days=days)):
            segment_day = (segments[row["segment"]].name, row["usage_date"])
            self.sessions[segment_day] = (row["sessions"], row["costliest"] or [])
            if segment_day in self.lines and segment_day not in from_console:
                self.lines[segment_day].sessions = float(row["sessions"])

    def contributions(self, flag: _Flag) -> str | None:
        """JSON of USD by cause, summing to the excess; None without a reference day."""
        name = flag.series.segment.name
        actual = self.lines.get((name, flag.day))
        typical = _together([self.lines[name, day] for day in self.reference(flag) if (name, day) in self.lines])
        # what a shift of several days or a new segment costs is not what its first day was made of
        if actual is None or typical is None or flag.expected <= 0 or flag.kind != "shock":
            return None
        before, after = comparable(typical.scaled(flag.expected / float(typical.cost_usd)), actual)
        parts = explain_excess(before, after, flag.excess)
        return "{" + ", ".join(f"{json.dumps(term)}: {usd:f}" for term, usd in parts.items()) + "}"

    def top_sessions(self, flag: _Flag) -> str:
        """JSON of the ten most expensive sessions that started on the day."""
        _, costliest = self.sessions.get((flag.series.segment.name, flag.day), (0, []))
        return json.dumps([{**session, "cost_usd": float(session["cost_usd"])} for session in costliest])


def _together(lines: Sequence[Lines]) -> Lines | None:
    """Several days added up, at their average rates; None where they cost nothing."""
    cost = sum((each.cost_usd for each in lines), Decimal(0))
    if cost <= 0:
        return None
    whole = Lines(cost, requests=_sum([each.requests for each in lines]), sessions=_sum([e.sessions for e in lines]))
    for name in sorted({name for each in lines for name in each.models}):
        models = [each.models[name] for each in lines if name in each.models]
        tokens = np.sum([model.tokens for model in models], axis=0)
        amounts = np.sum([model.tokens * np.nan_to_num(model.usd_per_token) for model in models], axis=0)
        rates = np.array(models[0].usd_per_token)
        np.divide(amounts, tokens, out=rates, where=tokens > 0)
        whole.models[name] = type(models[0])(tokens, rates)
    return whole


def _sum(numbers: Sequence[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if len(known) == len(numbers) else None


def _rows(relation: duckdb.DuckDBPyRelation) -> list[Row]:
    return [dict(zip(relation.columns, row, strict=True)) for row in relation.fetchall()]


def usage_anomalies(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Flag days that cost more than expected, and split each excess exactly by cause.

    `connection` reads the marts and may be read-only. A segment without a flagged day has one row that says so.
    """
    segments, series = daily_series(connection, settings.analysis_segments)
    flags = _flags(series, settings.anomaly_floor_usd)
    days = _Days(connection, flags)
    by_segment: dict[str, list[_Flag]] = defaultdict(list)
    for flag in flags:
        by_segment[flag.series.segment.name].append(flag)
    lengths = {each.segment.name: len(each.days) for each in series}
    rows: list[Row] = []
    for segment in segments:
        base = {"segment": segment.name, "measure": "day_cost_usd"}
        flagged = sorted(by_segment.get(segment.name, []), key=lambda flag: (flag.day, flag.kind, flag.method))
        rows += [
            {
                **base,
                "usage_date": flag.day,
                "kind": flag.kind,
                "value": flag.value,
                "expected": flag.expected,
                "excess": flag.value - flag.expected,
                "score": flag.score,
                "method": flag.method,
                "raised_on": flag.raised_on,
                "taken_back": flag.taken_back,
                "p_value": flag.p_value,
                "contributions": days.contributions(flag),
                "top_sessions": days.top_sessions(flag),
            }
            for flag in flagged
        ]
        if not flagged:
            n = lengths.get(segment.name, 0)
            note = f"None of the {counted(n, 'day')} was unusually expensive."
            if n < MIN_STL_DAYS:
                note = f"too few: {counted(n, 'day')}, where a rule needs {MIN_STL_DAYS}."
            rows.append({**base, "note": note if segment.n else _no_cost([segment])})
    return as_table("usage_anomalies", SCHEMAS["usage_anomalies"], rows)


# ----------------------------------------------------------------------------------------------------- forecast


def cost_forecast(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Forecast each segment's month from its daily costs, with the record of past forecasts.

    `connection` reads the marts and may be read-only.
    """
    segments, series = daily_series(connection, settings.analysis_segments)
    rows = [_forecast_row(each, Outlook.of(each.days, each.first_day)) for each in series]
    whole = next((row for row in rows if row["segment"] == "all"), {})
    names = [f"{prefix}budget_{level * 100:.0f}" for prefix in ("", "next_") for level in BUDGETS]
    for row in rows:
        if any(row[name] and whole.get(name) and row[name] > whole[name] for name in names):
            row["note"] = "Its budget exceeds that of all usage: it varies too much to be budgeted on its own."
    if not rows:
        rows = [{"segment": "all", "note": _no_cost(segments)}]
    return as_table("cost_forecast", SCHEMAS["cost_forecast"], rows)


def _forecast_row(series: Series, outlook: Outlook) -> Row:
    this, following, past = outlook.this_month, outlook.next_month, outlook.past
    row: Row = {
        "segment": series.segment.name,
        "month": this.month,
        "as_of": this.as_of,
        "method": "weekday",
        "so_far": this.so_far,
        "point": this.point,
        "next_month": following.month,
        "next_point": following.point,
        "backtest_hits": past.hits,
        "backtest_months": past.months,
        "backtest_budgets": past.budgets,
        "backtest_low": past.low,
        "backtest_high": past.high,
        "backtest_over_low": past.over_low,
        "backtest_over_high": past.over_high,
        "note": outlook.doubt(this),
    }
    for level in BANDS:
        row[f"low_{level * 100:.0f}"], row[f"high_{level * 100:.0f}"] = this.band(level)
    for level in BUDGETS:
        percent = f"{level * 100:.0f}"
        row[f"budget_{percent}"], row[f"next_budget_{percent}"] = this.budget(level), following.budget(level)
        row[f"backtest_over_{percent}"] = past.over[level]
    return row | {"backtest_over_budget": row.pop("backtest_over_95")}


# ------------------------------------------------------------------------------------- profile, bursts, patterns


def _events(connection: duckdb.DuckDBPyConnection) -> tuple[str, Measure, list[Segment]]:
    """The name of the count of arrivals (requests, else sessions), its measure, and the most expensive segments."""
    requests, sessions = MEASURES["request_total_tokens"], MEASURES["session_total_tokens"]
    for name, measure in (("request_count", requests), ("session_count", sessions)):
        segments = costliest_segments(connection, measure, MAX_PROFILE_SEGMENTS)
        if segments[0].n:
            return name, measure, [segment for segment in segments if segment.n]
    return "session_count", sessions, []


_NO_EVENTS = "unavailable: No logs of requests or sessions have been loaded, and a console export counts neither."


def time_profile(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Mean count of each hour of the week, with negative binomial intervals for overdispersed counts.

    `connection` reads the marts and may be read-only.
    """
    name, measure, segments = _events(connection)
    rows: list[Row] = []
    if segments:
        hours: dict[int, dict[dt.datetime, int]] = defaultdict(dict)
        for place, hour, count in query_segments(connection, "hours", measure, segments).fetchall():
            hours[place][hour] = count
        for place, segment in enumerate(segments):
            rows += _profile(segment.name, name, hours.get(place, {}))
    if not rows:
        rows = [{"segment": "all", "note": _NO_EVENTS}]
    return as_table("time_profile", SCHEMAS["time_profile"], rows)


def _profile(segment: str, measure: str, hours: Mapping[dt.datetime, int]) -> list[Row]:
    """168 rows. The mean of w counts with variance m + d m^2 has the relative error sqrt((1 / m + d) / w)."""
    from scipy import special

    first = min(hours).date() if hours else dt.date.min
    days = (max(hours).date() - first).days + 1 if hours else 0
    if days < MIN_PROFILE_WEEKS * WEEK:
        note = f"too few: {counted(days, 'day')}, where a profile needs {MIN_PROFILE_WEEKS * WEEK}."
        return [{"segment": segment, "measure": measure, "note": note}]
    counts = np.zeros((days, 24))
    for hour, count in hours.items():
        counts[(hour.date() - first).days, hour.hour] = count
    weekdays = (np.arange(days) + first.weekday()) % WEEK
    groups = [counts[weekdays == weekday] for weekday in range(WEEK)]
    means = np.array([group.mean(axis=0) for group in groups])
    variances = np.array([group.var(axis=0, ddof=1) for group in groups])
    dispersion = max(float((variances - means).sum() / np.square(means).sum()), 0.0)
    freedom = days - WEEK
    quantile = float(special.stdtrit(freedom, 0.975))
    rows = []
    for weekday, group in enumerate(groups):
        for place in range(24):
            mean, weeks = float(means[weekday, place]), len(group)
            error = float(np.sqrt((1 / mean + dispersion) / weeks)) if mean > 0 else 0.0
            # upper bound where nothing was observed: the mean at which that has a probability of 5%
            at_zero = float(np.expm1(-np.log(0.05) * dispersion / weeks)) / dispersion if dispersion else 3.0 / weeks
            rows.append(
                {
                    "segment": segment,
                    "measure": measure,
                    "weekday": weekday + 1,
                    "hour": place,
                    "mean": mean,
                    "low": mean * float(np.exp(-quantile * error)),
                    "high": mean * float(np.exp(quantile * error)) if mean > 0 else at_zero,
                    "weeks": weeks,
                    "dispersion": dispersion,
                }
            )
    return rows


def burstiness(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Index of dispersion of counts per minute, idle minutes included. `connection` reads the marts."""
    name, measure, segments = _events(connection)
    rows: list[Row] = []
    if segments:
        counts = {row["segment"]: row for row in _rows(query_segments(connection, "minutes", measure, segments))}
        for place, segment in enumerate(segments):
            if (row := counts.get(place)) is None:
                note = "unavailable: No time is known for its requests."
                rows.append({"segment": segment.name, "measure": name, "note": note})
                continue
            minutes = row["days"] * 1440
            mean = row["total"] / minutes
            variance = (row["squares"] - row["total"] * mean) / (minutes - 1)
            rows.append(
                {
                    "segment": segment.name,
                    "measure": name,
                    "minutes": minutes,
                    "busy_minutes": row["busy_minutes"],
                    "mean": mean,
                    "variance": variance,
                    "variance_to_mean": variance / mean,
                    "peak": row["most"],
                    "peak_at": row["busiest_minute"],
                }
            )
    if not rows:
        rows = [{"segment": "all", "note": _NO_EVENTS}]
    return as_table("burstiness", SCHEMAS["burstiness"], rows)


def day_patterns(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """Peak, trend, season and weekdays of daily cost, with tests. `connection` reads the marts."""
    segments, series = daily_series(connection, settings.analysis_segments)
    rows: list[Row] = []
    for each in series:
        rows += _patterns(each)
    tested = [row for row in rows if row.get("p_value") is not None]
    if tested:
        evident = benjamini_hochberg([row["p_value"] for row in tested], FALSE_DISCOVERY_RATE)
        for row, is_evident in zip(tested, evident, strict=True):
            row["is_evident"] = bool(is_evident)
    if not rows:
        rows = [{"segment": "all", "note": _no_cost(segments)}]
    return as_table("day_patterns", SCHEMAS["day_patterns"], rows)


def _patterns(series: Series) -> list[Row]:
    from scipy import special, stats
    from statsmodels.tsa.seasonal import STL

    days, name = series.days, series.segment.name
    positive = days[days > 0]
    if len(days) < MIN_PATTERN_WEEKS * WEEK or not len(positive):
        note = f"too few: {counted(len(days), 'day')}, where a pattern needs {MIN_PATTERN_WEEKS * WEEK}."
        return [{"segment": name, "note": note}]
    typical = float(np.median(positive))

    def row(pattern: str, value: float, observations: int, **other: float) -> Row:
        return {"segment": name, "pattern": pattern, "value": value, "observations": observations, **other}

    rows = [row("peak_to_typical", float(days.max()) / typical, len(positive))]
    logs = np.log(np.maximum(days, 0.01 * typical))
    weeks = logs[len(logs) % WEEK :].reshape(-1, WEEK)
    by_week = weeks.mean(axis=1)
    slope = stats.theilslopes(by_week, np.arange(len(by_week)))
    tau = stats.kendalltau(np.arange(len(by_week)), by_week)
    if np.isfinite(tau.pvalue):
        interval = {"low": float(np.expm1(slope[2])), "high": float(np.expm1(slope[3]))}
        rows.append(row("trend", float(np.expm1(slope[0])), len(by_week), **interval, p_value=float(tau.pvalue)))
    parts = STL(logs, period=WEEK, robust=True).fit()
    for pattern, part in (("trend_strength", parts.trend), ("seasonal_strength", parts.seasonal)):
        whole = float(np.var(part + parts.resid))
        rows.append(row(pattern, max(1 - float(np.var(parts.resid)) / whole, 0.0) if whole else 0.0, len(days)))
    deviations = weeks - np.median(weeks, axis=1, keepdims=True)
    first = (series.first_day + dt.timedelta(days=len(logs) % WEEK)).weekday()
    quantile = float(special.stdtrit(len(weeks) - 1, 0.975))
    # a week's median resists one expensive day, but is biased where weekdays differ: centre the deviations
    deviations -= np.median(deviations.mean(axis=0))
    widening = float(np.sqrt(1 + np.pi / 2 / WEEK))  # the median of seven means is itself uncertain
    for place in sorted(range(WEEK), key=lambda place: (first + place) % WEEK):
        effect = deviations[:, place]
        mean, error = float(effect.mean()), widening * float(effect.std(ddof=1)) / float(np.sqrt(len(effect)))
        interval = {"low": float(np.exp(mean - quantile * error)), "high": float(np.exp(mean + quantile * error))}
        # days that all equal their week's median have no effect and need no test
        p_value = 2 * float(special.stdtr(len(effect) - 1, -abs(mean) / error)) if error > 0 else float(mean == 0)
        weekday = WEEKDAYS[(first + place) % WEEK]
        rows.append(row(weekday, float(np.exp(mean)), len(effect), **interval, p_value=p_value))
    return rows


TABLES: dict[str, Callable[[duckdb.DuckDBPyConnection, Settings], pa.Table]] = {
    "usage_anomalies": usage_anomalies,
    "cost_forecast": cost_forecast,
    "time_profile": time_profile,
    "burstiness": burstiness,
    "day_patterns": day_patterns,
}
