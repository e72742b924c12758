"""The content of the committed sample, read without the pipeline."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tools import sample

HOME = Path(__file__).parent.parent / "data" / "sample"
LANDING = HOME / "landing"
CONSOLE = LANDING / "console"
USAGE = ("no_cache", "cache_write_5m", "cache_write_1h", "cache_read")
Counts = tuple[int, ...]
Line = dict[str, Any]


@pytest.fixture(scope="module")
def expected() -> dict[str, Any]:
    return json.loads((HOME / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def rebuilt() -> sample.Sample:
    return sample.build()


@pytest.fixture(scope="module")
def truth() -> list[sample.Request]:
    return sample.ground_truth()


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8-sig", newline="") as handle:
        return list(csv.DictReader(handle))


def counts(row: dict[str, str]) -> Counts:
    names = [*(f"usage_input_tokens_{kind}" for kind in USAGE), "usage_output_tokens", "web_search_count"]
    return tuple(int(row[name]) for name in names)


def add(*many: Counts) -> Counts:
    return tuple(sum(column) for column in zip(*many, strict=True))


def stated(expectation: dict[str, Any]) -> Counts:
    return tuple(expectation[name] for name in sample.COLUMNS)


def month_file(month: str) -> Path:
    return CONSOLE / f"claude_api_tokens_{month.replace('-', '_')}.csv"


def transcript_lines() -> Iterator[tuple[Path, Line]]:
    for path in sorted(LANDING.glob("claude_projects/**/*.jsonl")):
        for text in path.read_text(encoding="utf-8").splitlines():
            try:
                yield path, json.loads(text)
            except json.JSONDecodeError:
                continue


def responses() -> list[tuple[Path, Line]]:
    return [(path, line) for path, line in transcript_lines() if line["type"] == "assistant"]


def usage_counts(usage: Line) -> Counts:
    split = usage["cache_creation"]
    return (
        usage["input_tokens"],
        split["ephemeral_5m_input_tokens"],
        split["ephemeral_1h_input_tokens"],
        usage["cache_read_input_tokens"],
        usage["output_tokens"],
        0,
    )


def tracker_events() -> list[Line]:
    return [json.loads(text) for text in (LANDING / sample.TRACKER_FILE).read_text(encoding="utf-8").splitlines()]


def kept_responses() -> dict[str, Line]:
    """One line per response: main lines before sidechains, then the greatest output."""
    lines = [line for _, line in responses()]
    on_main = {line["message"]["id"] for line in lines if not line["isSidechain"]}
    kept: dict[str, Line] = {}
    for line in lines:
        message = line["message"]
        if line["isSidechain"] and message["id"] in on_main:
            continue
        key = message["id"] + line.get("requestId", "")
        if key not in kept or message["usage"]["output_tokens"] > kept[key]["message"]["usage"]["output_tokens"]:
            kept[key] = line
    return kept


def session_rows() -> list[Line]:
    """Every row of every complete export of token_usage_sessions."""
    rows: list[Line] = []
    for path in sorted(LANDING.glob("sessions/*.csv")):
        rows += read_csv(path)
    for path in sorted(LANDING.glob("sessions/*.jsonl.gz")):
        for text in gzip.decompress(path.read_bytes()).decode().splitlines():
            try:
                rows.append(json.loads(text))
            except json.JSONDecodeError:
                continue
    for path in sorted(LANDING.glob("sessions/*.parquet")):
        for row in pq.read_table(path).to_pylist():
            stamps = {n: f"{row[n]:%Y-%m-%dT%H:%M:%S}Z" for n in ("session_started_at", "last_updated_at")}
            rows.append(row | stamps)
    return rows


def sessions_in_force() -> dict[str, Line]:
    latest: dict[str, Line] = {}
    for row in session_rows():
        known = latest.get(row["session_id"])
        if known is None or row["last_updated_at"] > known["last_updated_at"]:
            latest[row["session_id"]] = row
    return latest


def session_counts(row: Line) -> Counts:
    writes = int(row["cache_creation_tokens"])
    one_hour = int(row.get("cache_creation_1h_tokens") or 0)
    return (
        int(row["input_tokens"]),
        writes - one_hour,
        one_hour,
        int(row["cache_read_tokens"]),
        int(row["output_tokens"]),
        int(row.get("web_search_count") or 0),
    )


# -------------------- the same bytes


def same_content(name: str, ours: bytes, committed: Path) -> bool:
    """Equal bytes; for containers equal content, as another zlib or pyarrow may pack it differently."""
    if ours == committed.read_bytes():
        return True
    if name.endswith(".gz"):
        return gzip.decompress(ours) == gzip.decompress(committed.read_bytes())
    if name.endswith(".parquet"):
        return pq.read_table(io.BytesIO(ours)).equals(pq.read_table(committed))
    return False


def test_the_generator_gives_exactly_the_committed_files(rebuilt: sample.Sample, tmp_path: Path) -> None:
    rebuilt.write(tmp_path)
    written = {p.relative_to(tmp_path).as_posix(): p for p in tmp_path.rglob("*") if p.is_file()}
    committed = {
        p.relative_to(HOME).as_posix(): p for p in [*LANDING.rglob("*"), HOME / "expected.json"] if p.is_file()
    }
    assert written.keys() == committed.keys()
    assert [n for n, path in written.items() if not same_content(n, path.read_bytes(), committed[n])] == []


def test_two_runs_of_the_generator_give_the_same_bytes(rebuilt: sample.Sample) -> None:
    assert sample.build() == rebuilt


def test_another_seed_gives_another_sample_with_the_same_known_hour(rebuilt: sample.Sample) -> None:
    other = sample.build(seed=7)
    assert other.expected["console"]["total"] != rebuilt.expected["console"]["total"]
    assert other.expected["known_hour"] == rebuilt.expected["known_hour"]


def test_the_sample_is_never_written_among_other_files(rebuilt: sample.Sample, tmp_path: Path) -> None:
    (tmp_path / "landing").mkdir()
    (tmp_path / "landing" / "real_export.csv").write_text("real")
    with pytest.raises(FileExistsError, match="choose another folder"):
        rebuilt.write(tmp_path)
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["real_export.csv"]


def test_landing_holds_at_most_four_megabytes() -> None:
    assert sum(path.stat().st_size for path in LANDING.rglob("*") if path.is_file()) <= 4_000_000


# -------------------- the known hour


def test_the_known_hour_has_its_published_sums_to_the_token() -> None:
    rows = read_csv(CONSOLE / "claude_api_tokens_2025_11_28_15h_UTC.csv")
    assert len(rows) == 21
    assert len({(row["usage_date_utc"], row["model_version"]) for row in rows}) == 21
    no_cache, write_5m, write_1h, read, output, _ = add(*map(counts, rows))
    assert (no_cache, write_5m + write_1h, read, output) == (35_844, 58_196, 508_912, 7_382)
    assert no_cache + write_5m + write_1h + read + output == 610_334


def test_the_known_hour_has_its_published_split_by_model() -> None:
    rows = read_csv(CONSOLE / "claude_api_tokens_2025_11_28_15h_UTC.csv")
    by_model: dict[str, list[Counts]] = defaultdict(list)
    for row in rows:
        by_model[row["model_version"]].append(counts(row))
    split = {model: (sum(add(*own)[:3]), add(*own)[4]) for model, own in by_model.items()}
    assert split == {"claude-haiku-4-5-20251001": (25_459, 2_888), "claude-sonnet-4-5-20250929": (68_581, 4_494)}


@pytest.mark.parametrize(
    ("minute", "model", "given"),
    [
        ("15:10", "haiku", (4176, 359)),
        ("15:10", "sonnet", (611, 280)),
        ("15:11", "haiku", (2130, 395)),
        ("15:14", "sonnet", (610, 260)),
    ],
)
def test_the_known_hour_has_its_four_published_rows(minute: str, model: str, given: tuple[int, int]) -> None:
    rows = read_csv(CONSOLE / "claude_api_tokens_2025_11_28_15h_UTC.csv")
    [row] = [r for r in rows if r["usage_date_utc"] == f"2025-11-28 {minute}" and model in r["model_version"]]
    assert (sum(counts(row)[:3]), counts(row)[4]) == given


def test_nothing_but_the_known_rows_happened_in_the_known_hour() -> None:
    of_hour = [
        r for r in read_csv(CONSOLE / "claude_api_tokens_2025_11_28.csv") if r["usage_date_utc"].endswith("15:00")
    ]
    of_minutes = read_csv(CONSOLE / "claude_api_tokens_2025_11_28_15h_UTC.csv")
    assert add(*map(counts, of_hour)) == add(*map(counts, of_minutes))


def test_the_cost_of_the_known_hour_is_stated_to_the_last_decimal(expected: dict[str, Any]) -> None:
    cost = Decimal(expected["known_hour"]["list_cost_usd"])
    assert cost == Decimal("0.5413406")
    assert Decimal("0.39") < cost < Decimal("0.65")


# -------------------- console exports


@pytest.mark.parametrize("month", sample.MONTHS)
def test_a_month_export_sums_to_the_truth_by_model(month: str, truth: list[sample.Request]) -> None:
    in_file: dict[str, Counts] = {}
    for row in read_csv(month_file(month)):
        in_file[row["model_version"]] = add(in_file.get(row["model_version"], (0,) * 6), counts(row))
    in_truth: dict[str, Counts] = {}
    for request in truth:
        if request.at.strftime("%Y-%m") == month:
            version = request.model.version
            in_truth[version] = add(in_truth.get(version, (0,) * 6), request.tokens)
    assert in_file == in_truth


def test_expected_console_totals_are_those_of_the_month_exports(expected: dict[str, Any]) -> None:
    total = add(*(counts(row) for month in sample.MONTHS for row in read_csv(month_file(month))))
    assert total == stated(expected["console"]["total"])
    assert sum(total[:5]) == expected["console"]["total"]["total_tokens"]


def test_the_context_window_stands_in_the_exports_from_september_on() -> None:
    stating = {month: "context_window" in read_csv(month_file(month))[0] for month in sample.MONTHS}
    assert stating == {"2025-07": False, "2025-08": False, "2025-09": True, "2025-10": True, "2025-11": True}


def test_long_context_requests_are_few_and_only_where_the_export_can_state_them(truth: list[sample.Request]) -> None:
    long = [request for request in truth if request.is_long]
    assert 5 <= len(long) <= 30
    assert {request.model for request in long} == {sample.SONNET_4_5}
    assert any(row["context_window"] == "> 200k" for row in read_csv(month_file("2025-10")))


def test_hour_and_minute_exports_repeat_tokens_of_the_month_exports_exactly(expected: dict[str, Any]) -> None:
    damaged = {Path(row["path"]).name for row in expected["rejected_rows"]}
    finer = [p for p in CONSOLE.glob("claude_api_tokens_2025_*_[0-9][0-9].csv") if p.name not in damaged]
    assert len(finer) == 5
    for path in finer:
        rows = read_csv(path)
        day = rows[0]["usage_date_utc"][:10]
        of_day = [row for row in read_csv(month_file(day[:7])) if row["usage_date_utc"] == day]
        assert add(*map(counts, rows)) == add(*map(counts, of_day))
    assert len(list(CONSOLE.glob("*h_UTC.csv"))) == 3


def test_the_older_october_export_is_lower_on_its_last_day_only() -> None:
    def by_day(path: Path) -> dict[str, Counts]:
        days: dict[str, Counts] = {}
        for row in read_csv(path):
            days[row["usage_date_utc"]] = add(days.get(row["usage_date_utc"], (0,) * 6), counts(row))
        return days

    older, newer = by_day(CONSOLE / "2025-10-20" / "claude_api_tokens_2025_10.csv"), by_day(month_file("2025-10"))
    assert max(older) == "2025-10-20"
    assert sum(older["2025-10-20"]) < sum(newer["2025-10-20"])
    assert all(newer[day] == values for day, values in older.items() if day != "2025-10-20")


def test_one_export_lies_there_twice_under_different_names() -> None:
    contents = Counter(path.read_bytes() for path in CONSOLE.rglob("*.csv"))
    assert sorted(contents.values())[-2:] == [1, 2]


def test_a_quoted_name_and_the_workbench_are_among_the_keys(truth: list[sample.Request]) -> None:
    keys = {row["api_key"] for month in sample.MONTHS for row in read_csv(month_file(month))}
    assert keys == {request.api_key for request in truth}
    assert len(keys) == 5 + len(sample.TRACKED_KEYS)
    assert {"", "Search, documents"} <= keys


# -------------------- cost exports


def test_billed_costs_differ_from_list_cost_by_rounding_only(expected: dict[str, Any]) -> None:
    for month, billed in expected["billed"]["months"].items():
        rows = read_csv(CONSOLE / f"claude_api_cost_{month.replace('-', '_')}.csv")
        cost = sum((Decimal(row["cost_usd"]) for row in rows), Decimal())
        assert (len(rows), cost) == (billed["cost_rows"], Decimal(billed["cost_usd"]))
        list_cost = Decimal(expected["console"]["list_cost_usd_by_month"][month])
        assert abs(cost - list_cost) <= Decimal("0.005") * len(rows)


def test_cost_rows_are_not_unique_on_their_visible_columns() -> None:
    rows = [tuple(row.values()) for path in CONSOLE.glob("claude_api_cost_*.csv") for row in read_csv(path)]
    assert sorted(Counter(rows).values())[-2:] == [1, 2]
    assert sorted(Counter(row[:7] for row in rows).values())[-3:] == [1, 2, 2]


def test_a_day_has_at_most_one_row_of_web_searches() -> None:
    rows = [row for path in CONSOLE.glob("claude_api_cost_*.csv") for row in read_csv(path)]
    days = [row["usage_date_utc"] for row in rows if row["cost_type"] == "web_search"]
    assert len(days) == len(set(days)) > 60


def test_one_day_costs_far_more_than_any_other(expected: dict[str, Any]) -> None:
    by_day: dict[str, Decimal] = defaultdict(Decimal)
    for path in CONSOLE.glob("claude_api_cost_*.csv"):
        for row in read_csv(path):
            by_day[row["usage_date_utc"]] += Decimal(row["cost_usd"])
    spike = by_day.pop(expected["spike_day"])
    assert spike > 2 * max(by_day.values())


# -------------------- transcripts and sessions


def test_transcripts_count_once_by_model(expected: dict[str, Any]) -> None:
    by_model: dict[str, list[Counts]] = defaultdict(list)
    for line in kept_responses().values():
        by_model[line["message"]["model"]].append(usage_counts(line["message"]["usage"]))
    found = {model: (len(own), add(*own)) for model, own in by_model.items()}
    versions = {m.model: m.version for m in (sample.HAIKU, sample.SONNET_4_5, sample.OPUS)}
    models = expected["transcripts"]["models"]
    assert found == {versions.get(name, name): (own["requests"], stated(own)) for name, own in models.items()}


def test_summing_transcript_lines_counts_too_much(expected: dict[str, Any]) -> None:
    naive = add(*(usage_counts(line["message"]["usage"]) for _, line in responses()))
    assert sum(naive) > 1.5 * expected["transcripts"]["total"]["total_tokens"]


def test_keeping_the_first_line_of_a_response_loses_output(expected: dict[str, Any]) -> None:
    first: dict[str, int] = {}
    for _, line in responses():
        first.setdefault(line["message"]["id"], line["message"]["usage"]["output_tokens"])
    assert sum(first.values()) < 0.8 * expected["transcripts"]["total"]["output_tokens"]


def test_a_fork_repeats_responses_of_an_earlier_session_whose_id_is_smaller(expected: dict[str, Any]) -> None:
    ids: dict[str, set[str]] = defaultdict(set)
    for path, line in responses():
        ids[path.relative_to(LANDING).as_posix()].add(line["message"]["id"])
    origin, fork = expected["oddities"]["fork_of"], expected["oddities"]["fork"]
    assert ids[origin] & ids[fork]
    assert ids[fork] - ids[origin]
    assert Path(origin).stem < Path(fork).stem
    assert Path(origin).parent == Path(fork).parent


def test_a_sidechain_repeats_a_call_of_the_main_line(expected: dict[str, Any]) -> None:
    odd = LANDING / expected["oddities"]["sidechain_that_repeats_main"]
    main = {line["message"]["id"] for _, line in responses() if not line["isSidechain"]}
    assert sum(line["message"]["id"] in main for path, line in responses() if path == odd) == 1


def test_some_responses_have_no_request_id() -> None:
    assert any("requestId" not in line and not line.get("isApiErrorMessage") for _, line in responses())


def test_all_text_in_transcripts_is_marked_as_synthetic() -> None:
    texts = {
        block["text"]
        for _, line in transcript_lines()
        if "message" in line
        for block in line["message"]["content"]
        if block["type"] == "text"
    }
    assert texts == {"synthetic text"}


def test_sessions_in_force_are_the_latest_rows_and_the_transcripts(expected: dict[str, Any]) -> None:
    exported = sessions_in_force()
    transcribed = {line["sessionId"] for line in kept_responses().values()}
    tracked = {event["conversation_id"] for event in tracker_events()}
    only_exported = [session_counts(row) for session, row in exported.items() if session not in transcribed]
    from_transcripts = [usage_counts(line["message"]["usage"]) for line in kept_responses().values()]
    from_events = [usage_counts(event["usage"]) for event in tracker_events()]
    assert len(exported) == expected["sessions"]["in_token_usage_sessions"]
    assert len(tracked) == expected["sessions"]["in_tracker_events"]
    assert len(exported.keys() | transcribed | tracked) == expected["sessions"]["sessions"]
    assert add(*only_exported, *from_transcripts, *from_events) == stated(expected["sessions"]["total"])


def test_every_request_of_a_tracked_key_is_one_event(expected: dict[str, Any], truth: list[sample.Request]) -> None:
    events = tracker_events()
    assert len({event["event_id"] for event in events}) == len(events) == expected["tracker"]["requests"]
    logged = Counter((event["api_key"], event["timestamp"], usage_counts(event["usage"])) for event in events)
    made = [request for request in truth if request.api_key in sample.TRACKED_KEYS]
    assert logged == Counter((r.api_key, f"{r.at.isoformat(timespec='microseconds')}Z", tuple(r.tokens)) for r in made)


def test_a_careful_organisation_does_the_same_work_and_could_save_nothing() -> None:
    wasteful, careful = sample.wastes(), sample.wastes(careful=True)
    assert [(waste.kind, waste.api_key) for waste in careful] == [(waste.kind, waste.api_key) for waste in wasteful]
    # what the single calls of one key waste shows only afterwards: no rule saves it
    assert [waste.api_key for waste in wasteful if waste.saving_usd <= 0] == [sample.TRIAGE]
    assert all(waste.saving_usd == 0 for waste in careful)
    assert [len(waste.requests) for waste in careful] == [len(waste.requests) for waste in wasteful]


def test_a_session_in_both_logs_has_the_same_totals_in_both(expected: dict[str, Any]) -> None:
    exported = sessions_in_force()
    for session in expected["sessions"]["in_both"]:
        own = [line for line in kept_responses().values() if line["sessionId"] == session]
        assert session_counts(exported[session]) == add(*(usage_counts(line["message"]["usage"]) for line in own))


def test_a_later_export_has_larger_totals_of_sessions_that_went_on(expected: dict[str, Any]) -> None:
    rows: dict[str, list[Line]] = defaultdict(list)
    for row in session_rows():
        rows[row["session_id"]].append(row)
    for session in expected["sessions"]["completed_by_a_later_export"]:
        earlier, later = sorted(rows[session], key=lambda row: row["last_updated_at"])
        assert sum(session_counts(earlier)) < sum(session_counts(later))


def test_about_95_percent_of_the_application_sessions_are_logged(truth: list[sample.Request]) -> None:
    sessions = {request.session for request in truth if request.api_key in sample.APPLICATION_KEYS}
    logged = sessions & sessions_in_force().keys()
    assert 0.93 < len(logged) / len(sessions) < 0.97


# -------------------- planted damage


def test_rejected_rows_stand_where_expected_json_says(expected: dict[str, Any]) -> None:
    for row in expected["rejected_rows"]:
        content = (LANDING / row["path"]).read_bytes()
        text = (gzip.decompress(content) if row["path"].endswith(".gz") else content).decode()
        line = text.splitlines()[row["line"] - 1]
        if row["column"]:
            cell = read_csv(LANDING / row["path"])[row["line"] - 2][row["column"]]
            assert not cell.isdigit()
        else:
            with pytest.raises(json.JSONDecodeError):
                json.loads(line)


def test_the_oddities_of_files_are_where_expected_json_says(expected: dict[str, Any]) -> None:
    oddities = expected["oddities"]
    assert (LANDING / oddities["empty_file"]).stat().st_size == 0
    assert (LANDING / oddities["comment_line"]).read_text(encoding="utf-8").startswith("//")
    assert not (LANDING / oddities["half_written_last_line"]).read_text(encoding="utf-8").endswith("\n")
    assert all((LANDING / path).is_file() for path in expected["unrecognised_files"])
