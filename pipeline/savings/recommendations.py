"""Recommendations and what each would have saved: analysis.recommendations.

Belongs here: the kinds of savings, the order of overlapping ones, their texts, and a query that reproduces each. Does
not belong here: the alternative costs of a request (marts.request_replays), prices (rates, repricing), contracts on the
bill (pricing).

Savings need logs of single requests: the gaps between them, and the tokens that each wrote, read and returned. Each
kind is computed separately for each key and model. Where kinds change the same requests, the largest saving is applied
first, and the next one counts only requests that are still unchanged. No request is saved twice, and the rows never add
up to more than the separate savings. docs/savings.md has the rules and their assumptions.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

from pipeline.analysis.measures import COUNT, MONEY, TEXT, as_table, described_field, described_schema
from pipeline.reference import rates
from pipeline.savings import repricing
from pipeline.settings import ConfigurationError, Settings, WhatIf
from pipeline.store.computed import table_or_reason
from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import literal, sql
from pipeline.words import counted, usd

MONTH_DAYS = 30
LEAST_DAYS, LEAST_REQUESTS = 7, 20  # with fewer of either, the confidence is one level lower
# Kinds with the same saving are applied in this order.
KINDS = (
    "cache_policy",
    "cache_writes_never_read",
    "lost_cache",
    "long_context_surcharge",
    "runaway_sessions",
)
# Columns of the replay: saving per request by kind; for the cache policy, by policy.
POLICIES = {"none": "none_usd", "5m": "only_5m_usd", "1h": "only_1h_usd"}
_SAVED = {
    "cache_writes_never_read": "unread_usd",
    "lost_cache": "lost_usd",
    "long_context_surcharge": "long_usd",
    "runaway_sessions": "runaway_usd",
}
_EVIDENCE_OF = {
    "cache_policy": "policy",
    "cache_writes_never_read": "unread",
    "lost_cache": "lost",
    "long_context_surcharge": "long",
    "runaway_sessions": "runaway",
}
_GROUP = ("provider", "model", "api_key", "workspace", "project")
_LEVELS = ("low", "medium", "high")
_QUANTUM = Decimal("1e-12")

SCHEMA = described_schema(
    "Recommended changes and their savings, one row per kind, key and model: savings by rank, then questions of the "
    "user (what_if) and usage that could not be assessed (unavailable). saving_usd_per_month adds up over rows, "
    "because no request counts twice; standalone_usd_per_month does not",
    [
        described_field("rank", COUNT, "1 saves most; null if the row is no saving"),
        described_field(
            "kind",
            TEXT,
            "cache_policy: other cache writes for a key and model; cache_writes_never_read; lost_cache: sessions whose "
            "cache expired in a pause; long_context_surcharge; runaway_sessions: growing input without output; "
            "what_if: a question of the user, no saving; unavailable: usage that could not be assessed; none: no "
            "saving found",
        ),
        described_field("subject", TEXT, "Key (or project, without a key), workspace and model; name of a what_if"),
        described_field(
            "saving_usd_per_month",
            MONEY,
            "Saving that is left after the rows applied before it, in USD: observed_saving_usd x 30 / window_days; "
            "null if the row is no saving",
        ),
        described_field(
            "confidence",
            TEXT,
            "high: arithmetic on actual costs; medium: depends on the replay of the cache, or on a prompt that can be "
            "cut; low: depends on a threshold, or on predicting which sessions pause; one level lower (not below low) "
            "if the window has less than 7 days or less than 20 requests are affected",
        ),
        described_field("evidence", TEXT, "The observed numbers"),
        described_field(
            "sql",
            TEXT,
            "Query on the published database that reproduces observed_saving_usd and saving_usd_per_month",
        ),
        described_field("action", TEXT, "What to change; null if the row is no saving"),
        described_field("applied_order", COUNT, "Order of application: by standalone saving, largest first"),
        described_field(
            "standalone_usd_per_month", MONEY, "Saving if only this row is applied, USD: such savings do not add up"
        ),
        described_field(
            "combined_usd_per_month",
            MONEY,
            "Saving of all rows together, USD: the sum of saving_usd_per_month, the same in each row",
        ),
        described_field("observed_saving_usd", MONEY, "Saving within the window, USD, not scaled to a month"),
        described_field("observed_standalone_usd", MONEY, "Standalone saving within the window, USD"),
        described_field(
            "what_if_usd_per_month", MONEY, "For a what_if: new cost - cost, USD per month; negative is cheaper"
        ),
        described_field("affected_cost_usd", MONEY, "Cost of the affected requests within the window, USD"),
        described_field("requests", COUNT, "Number of affected requests"),
        described_field("provider", TEXT, "Provider; null if the row is not about one key and model"),
        described_field("model", TEXT, "Model id; null where provider is"),
        described_field("api_key", TEXT, "API key; '' if no log states it"),
        described_field("workspace", TEXT, "Workspace; '' if no log states it"),
        described_field("project", TEXT, "Project of requests without an api_key; else ''"),
        described_field("first_usage_date", pa.date32(), "First UTC day of the window"),
        described_field("last_usage_date", pa.date32(), "Last UTC day of the window"),
        described_field("window_days", COUNT, "UTC days of the window, including days without usage"),
        described_field("last_seen", pa.date32(), "Last UTC day with an affected request"),
        described_field("status", TEXT, "ok: a saving; what_if; unavailable; none"),
    ],
)
SCHEMAS: dict[str, pa.Schema] = {"recommendations": SCHEMA}

Group = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Requests of one key and model that are affected by the same kinds, and the saving of each kind in USD."""

    kinds: frozenset[str]
    saved_usd: Mapping[str, Decimal]


@dataclass(frozen=True)
class Applied:
    """A kind of saving for one key and model, in USD within the window.

    `standalone_usd` is the saving of this kind alone. `saving_usd` counts only requests that none of `after` affects;
    it is never larger.
    """

    kind: str
    standalone_usd: Decimal
    saving_usd: Decimal
    after: tuple[str, ...]


def apply(parts: Sequence[Part], least_usd: Decimal = Decimal(0)) -> list[Applied]:
    """The savings of one key and model, largest first, without those below `least_usd` alone."""
    alone = {kind: sum((part.saved_usd[kind] for part in parts if kind in part.kinds), Decimal(0)) for kind in KINDS}
    worthwhile = [kind for kind in KINDS if alone[kind] > 0 and alone[kind] >= least_usd]
    savings: list[Applied] = []
    applied: list[str] = []
    for kind in sorted(worthwhile, key=lambda kind: (-alone[kind], KINDS.index(kind))):
        left = [part.saved_usd[kind] for part in parts if kind in part.kinds and not part.kinds & set(applied)]
        saving = max(Decimal(0), min(sum(left, Decimal(0)), alone[kind]))
        savings.append(Applied(kind, alone[kind], saving, tuple(applied)))
        if saving > 0:
            applied.append(kind)
    return savings


@dataclass(frozen=True)
class Window:
    """The analysed days, and the replay query for them."""

    first_day: dt.date
    last_day: dt.date
    settings: Settings

    @property
    def days(self) -> int:
        """Number of UTC days, including days without usage."""
        return (self.last_day - self.first_day).days + 1

    def per_month(self, observed_usd: Decimal) -> Decimal:
        """USD in the window, scaled to 30 days."""
        return (observed_usd * MONTH_DAYS / self.days).quantize(_QUANTUM)

    def replay(self, only: str = "") -> str:
        """The query for the savings of each request in the window; `only` is an additional condition."""
        thresholds = self.settings.savings
        return sql(
            "savings/replay",
            only=only,
            first_day=str(self.first_day),
            last_day=str(self.last_day),
            runaway_requests=str(thresholds.runaway_requests),
            runaway_output_tokens=str(thresholds.runaway_output_tokens),
            keep_alive_seconds=str(thresholds.keep_alive_minutes * 60),
            long_context_trim=f"{thresholds.long_context_trim:f}",
        ).rstrip()


def recommendations(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """The table analysis.recommendations; schema `SCHEMA`; without savings, one row says so.

    Raises:
        ConfigurationError: a what_if names a model that was never used or has no price.

    """
    totals = rows_of(
        connection, sql("savings/window", runaway_output_tokens=str(settings.savings.runaway_output_tokens))
    )[0]
    window = None
    rows: list[Row] = []
    if totals["first_day"] is not None:
        days = settings.savings.days
        first = totals["first_day"]
        if days is not None:
            first = max(first, totals["last_day"] - dt.timedelta(days=days - 1))
        window = Window(first, totals["last_day"], settings)
        rows = _savings(connection, window) or [_nothing_found(window)]
    rows += [_what_if(connection, settings, name, question) for name, question in sorted(settings.what_if.items())]
    rows += _unavailable(connection, totals, settings)
    if window is not None:
        for row in rows:
            row |= {
                "first_usage_date": row.get("first_usage_date", window.first_day),
                "last_usage_date": row.get("last_usage_date", window.last_day),
                "window_days": row.get("window_days", window.days),
            }
    return as_table("recommendations", SCHEMA, rows)


def _savings(connection: duckdb.DuckDBPyConnection, window: Window) -> list[Row]:
    """One row per kind, key and model, by rank."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE savings_replay AS {window.replay()}")
    try:
        signatures = rows_of(connection, sql("savings/signatures"))
        evidence = {_group(row): row for row in rows_of(connection, sql("savings/evidence"))}
    finally:
        connection.execute("DROP TABLE temp.savings_replay")
    floor = Decimal(str(window.settings.savings.floor_usd)) * window.days / MONTH_DAYS
    by_group: dict[Group, list[Row]] = defaultdict(list)
    for row in signatures:
        by_group[_group(row)].append(row)
    rows = []
    for group, own in by_group.items():
        policy, costs = _best_policy(own)
        rows += [
            _row(window, group, applied, policy, costs, evidence[group])
            for applied in apply([_part(row, policy) for row in own], floor)
        ]
    rows.sort(
        key=lambda row: (-row["observed_standalone_usd"], KINDS.index(row["kind"]), row["subject"], row["provider"])
    )
    combined = sum((row["saving_usd_per_month"] for row in rows), Decimal(0))
    for number, row in enumerate(rows, 1):
        row |= {"applied_order": number, "combined_usd_per_month": combined}
    rows.sort(key=lambda row: (-row["saving_usd_per_month"], row["applied_order"]))
    for number, row in enumerate(rows, 1):
        row["rank"] = number
    return rows


def _best_policy(signatures: Sequence[Row]) -> tuple[str, dict[str, Decimal]]:
    """The cache policy that saves most for a key and model, and the saving of each policy that has a price.

    Usage without a cache cannot be replayed: token counts do not show how much of a prompt repeats.
    """
    saved = {}
    for policy, column in POLICIES.items():
        values = [row[column] for row in signatures]
        if None not in values:
            saved[policy] = sum(values, Decimal(0))
    best = max(saved, key=lambda policy: saved[policy], default="none")
    return best, saved


def _part(row: Row, policy: str) -> Part:
    saved = {kind: row[column] for kind, column in _SAVED.items()}
    saved["cache_policy"] = row[POLICIES[policy]] or Decimal(0)
    return Part(frozenset(kind for kind in KINDS if row[f"in_{kind}"]), saved)


def _row(
    window: Window,
    group: Group,
    applied: Applied,
    policy: str,
    policies: Mapping[str, Decimal],
    measured: Row,
) -> Row:
    """A row for a saving, with its texts and query."""
    kind, short = applied.kind, _EVIDENCE_OF[applied.kind]
    words = _WORDS[kind](measured, window.settings, policy, policies)
    evidence = words.evidence
    if applied.saving_usd < applied.standalone_usd:
        earlier = ", ".join(applied.after)
        evidence += f" Alone it saves {usd(applied.standalone_usd)}; {usd(applied.saving_usd)} is left after {earlier}."
    requests = int(measured[f"{short}_requests"])
    level = _LEVELS.index(words.confidence)
    if window.days < LEAST_DAYS or requests < LEAST_REQUESTS:
        level = max(0, level - 1)
    last_seen = measured[f"{short}_last"]
    return {
        **dict(zip(_GROUP, group, strict=True)),
        "kind": kind,
        "subject": _subject(group),
        "saving_usd_per_month": window.per_month(applied.saving_usd),
        "confidence": _LEVELS[level],
        "evidence": evidence,
        "sql": _query(window, group, applied, policy),
        "action": words.action,
        "standalone_usd_per_month": window.per_month(applied.standalone_usd),
        "observed_saving_usd": applied.saving_usd,
        "observed_standalone_usd": applied.standalone_usd,
        "affected_cost_usd": measured[f"{short}_cost_usd"],
        "requests": requests,
        "last_seen": last_seen.date() if last_seen is not None else None,
        "status": "ok",
    }


def _query(window: Window, group: Group, applied: Applied, policy: str) -> str:
    """The replay query for one key and model on the published tables, after the kinds applied before."""
    names = dict(zip(_GROUP, group, strict=True))
    only = " ".join(f"and {name} = {literal(names[name])}" for name in _GROUP if name != "project")
    return sql(
        "savings/reproduce",
        title=" ".join(f"{applied.kind}, {_subject(group)}".split()),
        replay=window.replay(only),
        saving=POLICIES[policy] if applied.kind == "cache_policy" else _SAVED[applied.kind],
        taken=" or ".join(f"in_{kind}" for kind in applied.after) or "false",
        touched=f"in_{applied.kind}",
        project=literal(names["project"]),
        first_day=str(window.first_day),
        last_day=str(window.last_day),
        window_days=str(window.days),
    )


# ---------- texts


@dataclass(frozen=True)
class Words:
    """The texts of a row, and its confidence before the number of days and requests lowers it."""

    action: str
    evidence: str
    confidence: str


def _policy_words(row: Row, settings: Settings, policy: str, policies: Mapping[str, Decimal]) -> Words:
    actions = {
        "none": "Do not cache: send the prompts as plain input.",
        "5m": "Write five-minute caches instead of one-hour ones.",
        "1h": "Write one-hour caches instead of five-minute ones.",
    }
    labels = {"none": "without a cache", "5m": "with five-minute writes", "1h": "with one-hour writes"}
    cost = row["policy_cost_usd"]
    others = "; ".join(f"{labels[name]} {usd(cost - policies[name])}" for name in POLICIES if name in policies)
    return Words(
        actions[policy],
        f"{counted(row['policy_requests'], 'request')} with a cache cost {usd(cost)}: {row['write_5m_tokens']:,} "
        f"tokens were written for five minutes, {row['write_1h_tokens']:,} for one hour, and {row['read_tokens']:,} "
        "read. "
        f"Replayed by the gaps between the requests of a session: {others}.",
        "high" if policy == "none" else "medium",
    )


def _unread_words(row: Row, *_: object) -> Words:
    return Words(
        "Do not cache prompts that are never read again: remove the cache breakpoint from these calls.",
        f"{counted(row['unread_requests'], 'request')} wrote {row['unread_tokens']:,} tokens to a cache that no "
        f"later request read before it expired; as plain input they cost {usd(row['unread_usd'])} less."
        f"{_sessions(row, 'unread')}",
        "high",
    )


def _lost_words(row: Row, settings: Settings, *_: object) -> Words:
    by_pings = row["kept_alive_usd"]
    by_hour = row["lost_usd"] - by_pings
    remedies, savings = [], []
    if by_hour:
        remedies.append("one-hour writes")
        savings.append(f"one-hour writes in these sessions would save {usd(by_hour)}")
    if by_pings:
        remedies.append("keep-alive requests before it expires")
        savings.append(
            f"keep-alive requests for {settings.savings.keep_alive_minutes} minutes after every request would save "
            f"{usd(by_pings)}"
        )
    return Words(
        f"Keep the cache of sessions that pause: {' or '.join(remedies)}.",
        f"In {counted(row['lost_sessions'], 'session')} {counted(row['losses'], 'pause')} outlasted the cache: "
        f"{row['lost_tokens']:,} tokens were written again, {usd(row['rewritten_usd'])} more than reading "
        f"them. After their own cost, {' and '.join(savings)}.{_sessions(row, 'lost')}",
        "low",
    )


def _long_words(row: Row, settings: Settings, *_: object) -> Words:
    trim = settings.savings.long_context_trim
    return Words(
        "Keep these prompts below the long-context limit: compact or trim them.",
        f"{counted(row['long_requests'], 'request')} with up to {row['long_input_tokens']:,} input tokens would be "
        f"below the limit if {trim:.0%} of the prompt were cut; the surcharge on them is {usd(row['long_usd'])}. The "
        "cost of the cut tokens at the base rates is not counted. The surcharge on all "
        f"{counted(row['surcharged_requests'], 'request')} above the limit is {usd(row['surcharge_usd'])}.",
        "medium",
    )


def _runaway_words(row: Row, settings: Settings, *_: object) -> Words:
    after, most = settings.savings.runaway_requests, settings.savings.runaway_output_tokens
    return Words(
        f"Stop a session after {after} requests in a row without output.",
        f"{counted(row['runaway_sessions'], 'session')} went on with growing input after {after} requests of at most "
        f"{most} output tokens: {counted(row['runaway_requests'], 'further request')}, "
        f"{row['runaway_input_tokens']:,} tokens in and {row['runaway_output_tokens']:,} out."
        f"{_sessions(row, 'runaway')}",
        "low",
    )


_WORDS: Mapping[str, Callable[[Row, Settings, str, Mapping[str, Decimal]], Words]] = {
    "cache_policy": _policy_words,
    "cache_writes_never_read": _unread_words,
    "lost_cache": _lost_words,
    "long_context_surcharge": _long_words,
    "runaway_sessions": _runaway_words,
}


def _sessions(row: Row, short: str) -> str:
    names = row[f"{short}_examples"]
    return f" Most expensive sessions: {', '.join(names)}." if names else ""


def _subject(group: Group) -> str:
    named = dict(zip(_GROUP, group, strict=True))
    parts = [f"{name}={named[name]}" for name in ("api_key", "project", "workspace") if named[name]]
    return ", ".join([*(parts or ["no key stated"]), f"model={named['model']}"])


# ---------- rows that are no savings


def _nothing_found(window: Window) -> Row:
    return {
        "kind": "none",
        "subject": "all requests",
        "evidence": f"No change would save {usd(window.settings.savings.floor_usd)} a month (checked: "
        f"{', '.join(KINDS)}).",
        "sql": _READS_REQUESTS,
        "status": "none",
    }


_READS_REQUESTS = "SELECT count(*) AS requests, sum(estimated_cost_usd) AS cost_usd FROM marts.requests"


def _unavailable(connection: duckdb.DuckDBPyConnection, totals: Row, settings: Settings) -> list[Row]:
    """A row on usage that could not be assessed, and why; no row if logs of single requests cover all usage."""
    covered = rows_of(connection, sql("savings/coverage"))[0]
    reasons = []
    if not covered["in_force_tokens"] and not totals["requests"]:
        reasons.append("There is no usage.")
    elif covered["in_force_tokens"] > covered["requests_tokens"]:
        reasons.append(
            f"Logs of single requests hold {covered['requests_tokens']:,} of {covered['in_force_tokens']:,} tokens, "
            f"{usd(covered['requests_usd'])} of {usd(covered['in_force_usd'])} of all metered usage. Of the rest only "
            "sessions, minutes or days are known: without single requests there are no gaps between them and no cache "
            "reads and writes, so caches, long prompts and loops cannot be assessed."
        )
    if totals["subscription_usd"]:
        reasons.append(
            f"Requests of {usd(totals['subscription_usd'])} are covered by a subscription: API-equivalent, so changing "
            "them saves no cash."
        )
    if totals["unpriced_requests"]:
        reasons.append(
            f"{totals['unpriced_requests']:,} requests ({totals['unpriced_tokens']:,} tokens) have no price."
        )
    if totals["claude_code_without_output"] * 2 > totals["claude_code_requests"]:
        reasons.append(
            f"{totals['claude_code_without_output']:,} of {totals['claude_code_requests']:,} responses in Claude Code "
            f"logs count at most {settings.savings.runaway_output_tokens} output tokens: they hold only the first "
            "count of a stream, so runaway sessions cannot be detected."
        )
    if not reasons:
        return []
    return [
        {
            "kind": "unavailable",
            "subject": "usage that was not assessed",
            "evidence": " ".join(reasons),
            "sql": sql("savings/coverage").rstrip(),
            "status": "unavailable",
        }
    ]


def _what_if(connection: duckdb.DuckDBPyConnection, settings: Settings, name: str, question: WhatIf) -> Row:
    """The row of a what_if: the same traffic at other rates, by `repricing`. It is no saving."""
    model_map = {
        rates.canonical_model(old, settings.model_aliases).model: rates.canonical_model(
            new, settings.model_aliases
        ).model
        for old, new in question.models.items()
    }
    try:
        repriced = repricing.reprice(
            connection, settings.overrides_file, settings.model_aliases, model_map, usage_type=question.usage_type
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"what_if.{name}: {error}") from None
    old, new, difference = (repriced.total(column) for column in ("old_usd", "new_usd", "difference_usd"))
    missing = sum(row["unpriced_tokens"] for row in repriced.rows)
    sentences = [f"{usd(old)} would have been {usd(new)}.", *repriced.assumptions]
    if missing:
        sentences.append(f"{missing:,} tokens (or searches) have no rate before or after, and are left out.")
    if repriced.query is None:
        sentences.append("Some of the rates are your own: there is no query, because it would show them.")
    days = repriced.days
    return {
        "kind": "what_if",
        "subject": name,
        "evidence": " ".join(sentences),
        "sql": repriced.query,
        "what_if_usd_per_month": (difference * MONTH_DAYS / days).quantize(_QUANTUM) if days else None,
        "affected_cost_usd": old,
        "first_usage_date": repriced.first_day,
        "last_usage_date": repriced.last_day,
        "window_days": days or None,
        "status": "what_if",
    }


def _group(row: Row) -> Group:
    return tuple(str(row[name]) for name in _GROUP)


def tables(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[tuple[str, pa.Table]]:
    """Every table of this stage, by name."""
    yield "recommendations", table_or_reason(SCHEMA, lambda: recommendations(connection, settings))
