"""What to change, and what it would have saved: analysis.recommendations.

Belongs here: which savings are looked for, the order in which overlapping ones count, their words, and the query that
reproduces each. Does not belong here: what a request would have cost otherwise (marts.request_replays),
prices (rates, repricing), contracts on the bill (pricing).

Only requests tell: gaps between them, what each wrote, read and put out. Each kind of saving is computed by itself for
each key and model. Where kinds would change the same requests, the one that saves most comes first, and the next
counts only requests that no other has changed: no request's cost is saved twice, and the sum of the rows is never more
than the sum of what each would save alone. docs/savings.md has the rules and what they assume.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import duckdb
import pyarrow as pa

from pipeline.analysis.measures import COUNT, TEXT, as_table, described_field, described_schema
from pipeline.reference import rates
from pipeline.savings import repricing
from pipeline.settings import ConfigurationError, Settings, WhatIf
from pipeline.store.computed import table_or_reason
from pipeline.store.connection import Row, rows_of
from pipeline.store.sqlfiles import literal, sql
from pipeline.words import counted, usd

MONEY = pa.decimal128(38, 12)
MONTH_DAYS = 30
LEAST_DAYS, LEAST_REQUESTS = 7, 20  # below either, the confidence is one level lower
# In the order in which kinds that would save the same amount are applied.
KINDS = (
    "cache_policy",
    "cache_writes_never_read",
    "lost_cache",
    "long_context_surcharge",
    "runaway_sessions",
)
# Column of the replay with what each kind saves of a request; of the cache policy the one that saves most.
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
    "What to change and what it would have saved, one row a kind, key and model: savings first, by rank, then "
    "questions of the user (what_if) and what could not be judged (unavailable). saving_usd_per_month adds up over "
    "rows, since no request counts twice; standalone_usd_per_month does not",
    [
        described_field("rank", COUNT, "1 saves most; null where the row is no saving"),
        described_field(
            "kind",
            TEXT,
            "cache_policy: other cache writes for a key and model; cache_writes_never_read; lost_cache: sessions whose "
            "cache ended in a pause; long_context_surcharge; runaway_sessions: growing input without output; what_if: "
            "a question of the user, no saving; unavailable: what could not be judged; none: nothing was found",
        ),
        described_field(
            "subject", TEXT, "Key (project where no key is stated), workspace and model; of a what_if its name"
        ),
        described_field(
            "saving_usd_per_month",
            MONEY,
            "Saving after what the rows applied before it save of the same requests, in USD: observed_saving_usd x 30 "
            "/ window_days; null where the row is no saving",
        ),
        described_field(
            "confidence",
            TEXT,
            "high: arithmetic on what was paid; medium: rests on the replay of the cache, or on a prompt that can be "
            "cut; low: rests on a threshold, or on telling beforehand which sessions pause; one level lower (not below "
            "low) where the window has less than 7 days, or less than 20 requests are affected",
        ),
        described_field("evidence", TEXT, "What was seen, in numbers"),
        described_field(
            "sql",
            TEXT,
            "Query on the published database whose observed_saving_usd and saving_usd_per_month are the row's",
        ),
        described_field("action", TEXT, "What to change; null where the row is no saving"),
        described_field(
            "applied_order", COUNT, "Place in the order of application: by standalone saving, largest first"
        ),
        described_field(
            "standalone_usd_per_month", MONEY, "What the row would save alone, USD: such figures do not add up"
        ),
        described_field(
            "combined_usd_per_month",
            MONEY,
            "What all savings of the table save together, USD: the sum of saving_usd_per_month, the same in each row",
        ),
        described_field("observed_saving_usd", MONEY, "Saving within the window, USD, as it was, not scaled"),
        described_field("observed_standalone_usd", MONEY, "The same of standalone_usd_per_month"),
        described_field(
            "what_if_usd_per_month", MONEY, "Of a what_if: new cost - cost, USD a month; negative is cheaper"
        ),
        described_field(
            "affected_cost_usd", MONEY, "Cost of the requests that the row would change, within the window, USD"
        ),
        described_field("requests", COUNT, "Requests that the row would change"),
        described_field("provider", TEXT, "Provider; null where the row is of no single key and model"),
        described_field("model", TEXT, "Model id; null as provider"),
        described_field("api_key", TEXT, "API key; '' where no log states it"),
        described_field("workspace", TEXT, "Workspace; '' where no log states it"),
        described_field("project", TEXT, "Project, of requests without an api_key; else ''"),
        described_field("first_usage_date", pa.date32(), "First UTC day of the window"),
        described_field("last_usage_date", pa.date32(), "Last UTC day of the window"),
        described_field("window_days", COUNT, "UTC days of the window, days without usage included"),
        described_field("last_seen", pa.date32(), "Last UTC day on which a request was affected"),
        described_field("status", TEXT, "ok: a saving; what_if; unavailable; none"),
    ],
)
SCHEMAS: dict[str, pa.Schema] = {"recommendations": SCHEMA}

Group = tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Requests of one key and model that the same kinds would change, and what each kind saves of them in USD."""

    kinds: frozenset[str]
    saved_usd: Mapping[str, Decimal]


@dataclass(frozen=True)
class Applied:
    """A kind of saving at one key and model, in USD within the window.

    `standalone_usd` is what it saves alone; `saving_usd` what it saves of requests that none of `after` has changed,
    and never more than alone.
    """

    kind: str
    standalone_usd: Decimal
    saving_usd: Decimal
    after: tuple[str, ...]


def apply(parts: Sequence[Part], least_usd: Decimal = Decimal(0)) -> list[Applied]:
    """The savings of one key and model, the largest first; those of less than `least_usd` alone are left out."""
    alone = {kind: sum((part.saved_usd[kind] for part in parts if kind in part.kinds), Decimal(0)) for kind in KINDS}
    wanted = [kind for kind in KINDS if alone[kind] > 0 and alone[kind] >= least_usd]
    found: list[Applied] = []
    taken: list[str] = []
    for kind in sorted(wanted, key=lambda kind: (-alone[kind], KINDS.index(kind))):
        left = [part.saved_usd[kind] for part in parts if kind in part.kinds and not part.kinds & set(taken)]
        saving = max(Decimal(0), min(sum(left, Decimal(0)), alone[kind]))
        found.append(Applied(kind, alone[kind], saving, tuple(taken)))
        if saving > 0:
            taken.append(kind)
    return found


@dataclass(frozen=True)
class Window:
    """The days that are looked at, and the texts that the replay is made of."""

    first_day: dt.date
    last_day: dt.date
    settings: Settings

    @property
    def days(self) -> int:
        """UTC days, those without usage included."""
        return (self.last_day - self.first_day).days + 1

    def per_month(self, observed_usd: Decimal) -> Decimal:
        """USD of the window as USD of 30 days."""
        return (observed_usd * MONTH_DAYS / self.days).quantize(_QUANTUM)

    def replay(self, only: str = "") -> str:
        """The query for what each of the window's requests would have saved; `only` narrows it down."""
        wanted = self.settings.savings
        return sql(
            "savings/replay",
            only=only,
            first_day=str(self.first_day),
            last_day=str(self.last_day),
            runaway_requests=str(wanted.runaway_requests),
            runaway_output_tokens=str(wanted.runaway_output_tokens),
            keep_alive_seconds=str(wanted.keep_alive_minutes * 60),
            long_context_trim=f"{wanted.long_context_trim:f}",
        ).rstrip()


def recommendations(connection: duckdb.DuckDBPyConnection, settings: Settings) -> pa.Table:
    """The table analysis.recommendations; schema `SCHEMA`, never empty.

    Raises:
        ConfigurationError: a what_if names a model that was never used or has no price.

    """
    seen = rows_of(
        connection, sql("savings/window", runaway_output_tokens=str(settings.savings.runaway_output_tokens))
    )[0]
    window = None
    rows: list[Row] = []
    if seen["first_day"] is not None:
        days = settings.savings.days
        first = seen["first_day"]
        if days is not None:
            first = max(first, seen["last_day"] - dt.timedelta(days=days - 1))
        window = Window(first, seen["last_day"], settings)
        rows = _savings(connection, window) or [_nothing_found(window)]
    rows += [_what_if(connection, settings, name, question) for name, question in sorted(settings.what_if.items())]
    rows += _unavailable(connection, seen, settings)
    if window is not None:
        for row in rows:
            row |= {
                "first_usage_date": row.get("first_usage_date", window.first_day),
                "last_usage_date": row.get("last_usage_date", window.last_day),
                "window_days": row.get("window_days", window.days),
            }
    return as_table("recommendations", SCHEMA, rows)


def _savings(connection: duckdb.DuckDBPyConnection, window: Window) -> list[Row]:
    """One row a kind, key and model, by rank."""
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
    """The cache policy that saves most at a key and model, and what each policy saves that has a price.

    Where nothing was ever cached there is nothing to replay: tokens do not show how much of a prompt repeats.
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
    seen: Row,
) -> Row:
    """A saving with its words and its query."""
    kind, short = applied.kind, _EVIDENCE_OF[applied.kind]
    words = _WORDS[kind](seen, window.settings, policy, policies)
    evidence = words.evidence
    if applied.saving_usd < applied.standalone_usd:
        former = ", ".join(applied.after)
        evidence += f" Of {usd(applied.standalone_usd)} alone, {usd(applied.saving_usd)} is left after {former}."
    requests = int(seen[f"{short}_requests"])
    level = _LEVELS.index(words.confidence)
    if window.days < LEAST_DAYS or requests < LEAST_REQUESTS:
        level = max(0, level - 1)
    last = seen[f"{short}_last"]
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
        "affected_cost_usd": seen[f"{short}_cost_usd"],
        "requests": requests,
        "last_seen": last.date() if last is not None else None,
        "status": "ok",
    }


def _query(window: Window, group: Group, applied: Applied, policy: str) -> str:
    """The replay on published tables, narrowed down to one key and model, with what is left after the other kinds."""
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


# ---------- words


@dataclass(frozen=True)
class Words:
    """What a row says, and how far to trust it before the number of days and requests is looked at."""

    action: str
    evidence: str
    confidence: str


def _policy_words(seen: Row, settings: Settings, policy: str, policies: Mapping[str, Decimal]) -> Words:
    actions = {
        "none": "Do not cache: send the prompts as plain input.",
        "5m": "Write five-minute caches instead of one-hour ones.",
        "1h": "Write one-hour caches instead of five-minute ones.",
    }
    labels = {"none": "without a cache", "5m": "with five-minute writes", "1h": "with one-hour writes"}
    cost = seen["policy_cost_usd"]
    others = "; ".join(f"{labels[name]} {usd(cost - policies[name])}" for name in POLICIES if name in policies)
    return Words(
        actions[policy],
        f"{counted(seen['policy_requests'], 'request')} with a cache cost {usd(cost)}: {seen['write_5m_tokens']:,} "
        f"tokens were written for five minutes, {seen['write_1h_tokens']:,} for one hour, and {seen['read_tokens']:,} "
        "read. "
        f"Replayed by the gaps between the requests of a session: {others}.",
        "high" if policy == "none" else "medium",
    )


def _unread_words(seen: Row, *_: object) -> Words:
    return Words(
        "Do not cache what nobody reads again: leave the cache breakpoint out of these calls.",
        f"{counted(seen['unread_requests'], 'request')} wrote {seen['unread_tokens']:,} tokens to a cache that no "
        f"later request read before it ended; as plain input they cost {usd(seen['unread_usd'])} less."
        f"{_sessions(seen, 'unread')}",
        "high",
    )


def _lost_words(seen: Row, settings: Settings, *_: object) -> Words:
    by_pings = seen["kept_alive_usd"]
    by_hour = seen["lost_usd"] - by_pings
    ways = []
    if by_hour:
        ways.append(f"{usd(by_hour)} by one-hour writes in these sessions")
    if by_pings:
        ways.append(
            f"{usd(by_pings)} by requests that read the cache just before it ends, for "
            f"{settings.savings.keep_alive_minutes} minutes after every request, the last one too"
        )
    return Words(
        "Hold the cache of sessions that pause: "
        + " or ".join(["one-hour writes"] * bool(by_hour) + ["a keep-alive request before it ends"] * bool(by_pings))
        + ".",
        f"In {counted(seen['lost_sessions'], 'session')} {counted(seen['losses'], 'pause')} outlasted the cache: "
        f"{seen['lost_tokens']:,} "
        f"tokens were written again, {usd(seen['rewritten_usd'])} more than reading them. Less what holding costs it "
        f"saves {' and '.join(ways)}.{_sessions(seen, 'lost')}",
        "low",
    )


def _long_words(seen: Row, settings: Settings, *_: object) -> Words:
    trim = settings.savings.long_context_trim
    return Words(
        "Keep these prompts below the long-context limit: compact or trim them.",
        f"{counted(seen['long_requests'], 'request')} with up to {seen['long_input_tokens']:,} input tokens would be "
        f"below the limit if {trim:.0%} of the prompt were cut; the surcharge on them is {usd(seen['long_usd'])}, and "
        "what the cut tokens cost at the base rates is not counted. The surcharge on all "
        f"{counted(seen['surcharged_requests'], 'request')} above the limit is {usd(seen['surcharge_usd'])}.",
        "medium",
    )


def _runaway_words(seen: Row, settings: Settings, *_: object) -> Words:
    after, most = settings.savings.runaway_requests, settings.savings.runaway_output_tokens
    return Words(
        f"Stop a session after {after} requests in a row without output.",
        f"{counted(seen['runaway_sessions'], 'session')} went on with growing input after {after} requests of at most "
        f"{most} output tokens: {counted(seen['runaway_requests'], 'further request')}, "
        f"{seen['runaway_input_tokens']:,} tokens in and {seen['runaway_output_tokens']:,} out."
        f"{_sessions(seen, 'runaway')}",
        "low",
    )


_WORDS: Mapping[str, Callable[[Row, Settings, str, Mapping[str, Decimal]], Words]] = {
    "cache_policy": _policy_words,
    "cache_writes_never_read": _unread_words,
    "lost_cache": _lost_words,
    "long_context_surcharge": _long_words,
    "runaway_sessions": _runaway_words,
}


def _sessions(seen: Row, short: str) -> str:
    names = seen[f"{short}_examples"]
    return f" Dearest sessions: {', '.join(names)}." if names else ""


def _subject(group: Group) -> str:
    named = dict(zip(_GROUP, group, strict=True))
    parts = [f"{name}={named[name]}" for name in ("api_key", "project", "workspace") if named[name]]
    return ", ".join([*(parts or ["no key stated"]), f"model={named['model']}"])


# ---------- rows that are no savings


def _nothing_found(window: Window) -> Row:
    return {
        "kind": "none",
        "subject": "all requests",
        "evidence": f"{', '.join(KINDS)} were looked for: nothing would save "
        f"{usd(window.settings.savings.floor_usd)} a month.",
        "sql": _READS_REQUESTS,
        "status": "none",
    }


_READS_REQUESTS = "SELECT count(*) AS requests, sum(estimated_cost_usd) AS cost_usd FROM marts.requests"


def _unavailable(connection: duckdb.DuckDBPyConnection, seen: Row, settings: Settings) -> list[Row]:
    """What could not be judged, and why; nothing where single requests tell all."""
    covered = rows_of(connection, sql("savings/coverage"))[0]
    said = []
    if not covered["in_force_tokens"] and not seen["requests"]:
        said.append("There is no usage.")
    elif covered["in_force_tokens"] > covered["requests_tokens"]:
        said.append(
            f"Logs of single requests hold {covered['requests_tokens']:,} tokens, {usd(covered['requests_usd'])}, "
            f"beside {covered['in_force_tokens']:,} tokens, {usd(covered['in_force_usd'])}, of all metered usage. Of "
            "the rest only sessions, minutes or days are known: no gaps between requests, no reads and writes of each, "
            "and so nothing of its caches, its long prompts and its loops."
        )
    if seen["subscription_usd"]:
        said.append(
            f"Requests of {usd(seen['subscription_usd'])} are covered by a subscription: API-equivalent, which saves "
            "no cash."
        )
    if seen["unpriced_requests"]:
        said.append(f"{seen['unpriced_requests']:,} requests ({seen['unpriced_tokens']:,} tokens) have no price.")
    if seen["claude_code_without_output"] * 2 > seen["claude_code_requests"]:
        said.append(
            f"{seen['claude_code_without_output']:,} of {seen['claude_code_requests']:,} responses in logs of Claude "
            f"Code count at most {settings.savings.runaway_output_tokens} output tokens: they hold the first count of "
            "a stream, and cannot tell a runaway session."
        )
    if not said:
        return []
    return [
        {
            "kind": "unavailable",
            "subject": "usage that was not judged",
            "evidence": " ".join(said),
            "sql": sql("savings/coverage").rstrip(),
            "status": "unavailable",
        }
    ]


def _what_if(connection: duckdb.DuckDBPyConnection, settings: Settings, name: str, question: WhatIf) -> Row:
    """The same traffic at other rates, by `repricing`: a question that the user asked, and no saving."""
    model_map = {
        rates.canonical_model(old, settings.model_aliases).model: rates.canonical_model(
            new, settings.model_aliases
        ).model
        for old, new in question.models.items()
    }
    try:
        found = repricing.reprice(
            connection, settings.overrides_file, settings.model_aliases, model_map, usage_type=question.usage_type
        )
    except ConfigurationError as error:
        raise ConfigurationError(f"what_if.{name}: {error}") from None
    old, new, difference = (found.total(column) for column in ("old_usd", "new_usd", "difference_usd"))
    missing = sum(row["unpriced_tokens"] for row in found.rows)
    said = [f"{usd(old)} would have been {usd(new)}.", *found.assumptions]
    if missing:
        said.append(f"{missing:,} tokens (or searches) have no rate before or after, and are left out.")
    if found.query is None:
        said.append("Some of the rates are your own: there is no query, since it would show them.")
    days = found.days
    return {
        "kind": "what_if",
        "subject": name,
        "evidence": " ".join(said),
        "sql": found.query,
        "what_if_usd_per_month": (difference * MONTH_DAYS / days).quantize(_QUANTUM) if days else None,
        "affected_cost_usd": old,
        "first_usage_date": found.first_day,
        "last_usage_date": found.last_day,
        "window_days": days or None,
        "status": "what_if",
    }


def _group(row: Row) -> Group:
    return tuple(str(row[name]) for name in _GROUP)


def tables(connection: duckdb.DuckDBPyConnection, settings: Settings) -> Iterator[tuple[str, pa.Table]]:
    """Every table of this stage, by name."""
    yield "recommendations", table_or_reason(SCHEMA, lambda: recommendations(connection, settings))
