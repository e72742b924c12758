"""token_usage_sessions from a real PostgreSQL: every token once, with old and new schema, and no trace of the password.

Belongs here: the files of a pull, and the migrations of docs/. Does not belong here: reading landed files (test_ingest)
and which state of a session is in force (test_overlaps).
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from commands import CHECKOUT, token_analytics
from conftest import Home, Models, Warehouse
from servers import Postgres, postgres_server

from pipeline import settings
from pipeline.fetch import postgres
from pipeline.ingest import loader
from pipeline.settings import ConfigurationError
from pipeline.store import warehouse

MIGRATIONS = CHECKOUT / "docs" / "migrations"
# As the application created it: with a column of content, which only the application may read.
OLD_TABLE = """
    create table token_usage_sessions (
        session_id uuid primary key, user_id text, session_started_at timestamptz not null,
        last_updated_at timestamptz, model varchar(64) not null, input_tokens integer not null,
        output_tokens bigint not null, cache_read_tokens bigint default 0, cache_creation_tokens numeric default 0,
        last_prompt text default 'CANARY of content'
    )
"""
OLD_INSERT = """
    insert into token_usage_sessions
        (session_id, user_id, session_started_at, last_updated_at, model, input_tokens, output_tokens,
        cache_read_tokens, cache_creation_tokens)
    select md5('{name}-' || n)::uuid, 'user-' || n % 7, timestamptz '2026-03-01' + n * interval '1 minute',
        timestamptz '2026-03-01' + n * interval '1 minute' + interval '30 seconds', 'claude-sonnet-4-5', n, 10 * n, 5, 3
    from generate_series({first}, {last}) as n
"""
OVERLAP_SECONDS = 86_400.0


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    with postgres_server() as started:
        yield started


@dataclass(frozen=True)
class Database:
    """A database of one test, and the role of the pipeline."""

    server: Postgres
    name: str

    @property
    def reader(self) -> str:
        return self.server.dsn(self.name, "reader", READERS_PASSWORD)

    @contextmanager
    def connect(self, autocommit: bool = True) -> Iterator[Any]:
        from adbc_driver_postgresql import dbapi

        with dbapi.connect(self.server.dsn(self.name), autocommit=autocommit) as connection, connection.cursor() as use:
            yield use

    def run(self, *statements: str) -> None:
        with self.connect() as use:
            for statement in statements:
                use.execute(statement)

    def insert(self, first: int, last: int, name: str = "s") -> None:
        self.run(OLD_INSERT.format(name=name, first=first, last=last))

    def migrate(self, name: str) -> None:
        """Run a file of docs/ as documented."""
        program = shutil.which("psql")
        if program is None:
            pytest.skip("psql is not installed")
        command = [program, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-f", MIGRATIONS / name, self.server.dsn(self.name)]
        subprocess.run(command, check=True, capture_output=True)

    def row(self, query: str) -> tuple[Any, ...]:
        with self.connect() as use:
            use.execute(query)
            return tuple(column[0].as_py() for column in use.fetch_arrow_table().columns)


READERS_PASSWORD = "pass/word@of:the?reader%"
_numbers = count()


@pytest.fixture
def database(server: Postgres) -> Database:
    """A database with the table in its first version, and 100 sessions."""
    made = Database(server, f"app_{next(_numbers)}")
    Database(server, "postgres").run(
        f"create database {made.name}",
        f"do $$ begin create role reader login password '{READERS_PASSWORD}'; exception when others then null; end $$",
    )
    made.run(OLD_TABLE, "grant select on token_usage_sessions to reader")
    made.insert(1, 100)
    return made


@pytest.fixture
def marts(models: Models, home: Home) -> Warehouse:
    """The marts of that home, updated from step to step."""
    return Warehouse(models, home, "marts.token_usage_sessions", "marts.token_usage_minutes")


@pytest.fixture
def home(new_home: Any, database: Database) -> Home:
    """A home that reads the database."""
    made: Home = new_home(postgres_dsn=database.reader, postgres_overlap_seconds=OVERLAP_SECONDS)
    return made


def table_sums(database: Database) -> tuple[Any, ...]:
    """Sums of the application's table."""
    return database.row(
        "select count(*), sum(input_tokens)::bigint, sum(output_tokens)::bigint, sum(cache_read_tokens)::bigint, "
        "sum(cache_creation_tokens)::bigint from token_usage_sessions"
    )


def sums_in_force(marts: Warehouse) -> tuple[Any, ...]:
    """Sums of the marts, after loading new files."""
    marts.update(10**9)
    ((row),) = marts.connection.execute(
        "SELECT count(*), sum(input_tokens_no_cache)::bigint, sum(output_tokens)::bigint, "
        "sum(input_tokens_cache_read)::bigint, "
        "sum(input_tokens_cache_write_5m + input_tokens_cache_write_1h)::bigint FROM marts.token_usage_sessions"
    ).fetchall()
    return tuple(row)


def stored_sums(home: Home) -> tuple[Any, ...]:
    """The same without a build: the preferred state of each session."""
    home.ingest()
    ((row),) = home.query(
        "SELECT count(*), sum(input_tokens_no_cache)::bigint, sum(output_tokens)::bigint, "
        "sum(input_tokens_cache_read)::bigint, sum(input_tokens_cache_write_5m + input_tokens_cache_write_1h)::bigint "
        "FROM (SELECT DISTINCT ON (provider, session_id) * FROM raw.usage_sessions "
        "ORDER BY last_updated_at DESC, output_tokens DESC)"
    )
    return tuple(row)


def test_the_table_is_landed_once_and_an_update_replaces_its_session(
    home: Home, database: Database, marts: Warehouse
) -> None:
    first = postgres.pull(home.settings)
    assert (first.rows, first.rows_known, len(first.files)) == (100, 0, 1)
    assert sums_in_force(marts) == table_sums(database)

    again = postgres.pull(home.settings)
    assert (again.rows, again.rows_known, again.files) == (0, 100, ())

    database.run(
        "update token_usage_sessions set output_tokens = output_tokens + 1000, "
        "last_updated_at = last_updated_at + interval '1 day' where input_tokens in (3, 77)"
    )
    database.insert(101, 150)
    third = postgres.pull(home.settings)
    assert third.rows == 52
    assert sums_in_force(marts) == table_sums(database)


def test_a_row_that_is_committed_late_with_an_earlier_stamp_is_not_lost(home: Home, database: Database) -> None:
    with database.connect(autocommit=False) as slow:
        slow.execute(OLD_INSERT.format(name="slow", first=20, last=30))
        postgres.pull(home.settings)
        slow.execute("commit")
    late = postgres.pull(home.settings)
    assert (late.rows, late.rows_known) == (11, 100)
    assert stored_sums(home) == table_sums(database)


def test_a_row_later_than_the_overlap_comes_with_a_full_pull(new_home: Any, database: Database) -> None:
    home: Home = new_home(postgres_dsn=database.reader, postgres_overlap_seconds=60)
    postgres.pull(home.settings)
    database.insert(5, 6, "late")
    assert postgres.pull(home.settings).rows == 0
    assert postgres.pull(home.settings, everything=True).rows == 102
    assert stored_sums(home) == table_sums(database)


def test_a_clock_that_is_ahead_does_not_hide_the_rows_that_follow(home: Home, database: Database) -> None:
    # No more than the two days that a row of usage may be ahead.
    database.run("update token_usage_sessions set last_updated_at = now() + interval '1 day' where input_tokens = 100")
    pulled = postgres.pull(home.settings)
    assert pulled.up_to is not None
    assert pulled.up_to <= dt.datetime.now(dt.UTC)
    database.run(
        "update token_usage_sessions set output_tokens = 0, last_updated_at = now() where input_tokens between 1 and 9"
    )
    assert postgres.pull(home.settings).rows == 9
    assert stored_sums(home) == table_sums(database)


def test_the_migration_may_run_twice_old_statements_go_on_and_old_rows_mean_what_they_meant(
    home: Home, database: Database, marts: Warehouse
) -> None:
    postgres.pull(home.settings)
    before = sums_in_force(marts)
    rows = "SELECT {} FROM marts.token_usage_sessions ORDER BY session_id"
    old = marts.connection.execute(rows.format("*")).fetchall()
    database.migrate("token_usage_sessions.sql")
    database.migrate("token_usage_sessions.sql")
    assert postgres.pull(home.settings, everything=True).rows == 100
    assert sums_in_force(marts) == before
    # The migration writes `default` where the value was missing.
    assert marts.connection.execute(rows.format("* REPLACE ('' AS workspace)")).fetchall() == old

    database.insert(101, 110)
    database.run(
        "insert into token_usage_sessions values (gen_random_uuid(), 'u', '2026-03-02', '2026-03-02 00:01', "
        "'claude-sonnet-4-5', 1, 2, 4, 24, 'CANARY', 'backend', 'production', '0-200k', 8, 16, 3)"
    )
    assert postgres.pull(home.settings).rows == 11
    assert sums_in_force(marts) == table_sums(database)
    assert marts.connection.execute(
        "SELECT api_key, workspace, context_window, input_tokens_cache_write_5m, input_tokens_cache_write_1h, "
        "web_search_count, cache_split_assumed FROM marts.token_usage_sessions WHERE api_key <> ''"
    ).fetchall() == [("backend", "production", "0-200k", 8, 16, 3, False)]


def test_the_minutes_of_the_marts_fit_into_their_table(home: Home, database: Database, marts: Warehouse) -> None:
    database.migrate("token_usage_minutes.sql")
    database.migrate("token_usage_minutes.sql")
    postgres.pull(home.settings)
    marts.update(10**9)
    connection = marts.connection
    with database.connect() as use:
        rows = connection.execute("FROM marts.token_usage_minutes").to_arrow_table()
        kinds = ", ".join(f"sum({name})::bigint" for name in rows.column_names if name.endswith("tokens"))
        assert use.adbc_ingest("token_usage_minutes", rows, mode="append") == len(rows) > 0
        wanted = connection.execute(f"SELECT {kinds}, count(*) FROM marts.token_usage_minutes").fetchall()
        money = connection.execute("SELECT sum(estimated_cost_usd)::varchar FROM marts.token_usage_minutes").fetchall()
    sums = ", ".join(f"sum({name})::bigint as {name}" for name in rows.column_names if name.endswith("tokens"))
    assert [database.row(f"select {sums}, count(*) from token_usage_minutes")] == wanted
    assert [database.row("select sum(estimated_cost_usd)::text from token_usage_minutes")] == money


def test_no_odd_value_of_the_table_stops_a_pull_and_what_is_no_row_is_quarantined(
    home: Home, database: Database
) -> None:
    database.run(
        "update token_usage_sessions set last_updated_at = null where input_tokens = 1",
        "update token_usage_sessions set last_updated_at = 'infinity' where input_tokens = 2",
        "update token_usage_sessions set last_updated_at = '-infinity' where input_tokens = 3",
        "update token_usage_sessions set cache_creation_tokens = 'NaN' where input_tokens = 4",
        "update token_usage_sessions set cache_creation_tokens = 1.5 where input_tokens = 5",
        "update token_usage_sessions set output_tokens = -1 where input_tokens = 6",
        "update token_usage_sessions set cache_read_tokens = null, user_id = e'line\\nend \"quoted\"' "
        "where input_tokens = 7",
    )
    assert postgres.pull(home.settings).rows == 100
    summary = home.ingest()
    assert (summary.rows_loaded, summary.rows_rejected) == (94, 6)
    # Each pull queries rows without a time; they are landed once.
    assert postgres.pull(home.settings).rows == 0


def test_only_usage_columns_leave_the_database(home: Home, database: Database) -> None:
    postgres.pull(home.settings)
    home.ingest()
    (file,) = (home.settings.landing / "pulled" / "postgres").iterdir()
    assert "last_prompt" not in pq.read_schema(file).names
    assert not [path for path in home.root.rglob("*") if path.is_file() and b"CANARY" in path.read_bytes()]


def test_files_hold_at_most_so_many_rows_and_a_pull_that_is_cut_off_goes_on_where_it_was(
    home: Home, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.insert(101, 3000)
    monkeypatch.setattr(postgres, "FILE_ROWS", 500)
    monkeypatch.setattr(postgres, "BATCH_BYTES", 10_000)
    finish = postgres.landing.finish

    def fail_at_the_third_file(source: Path, folder: Path, name: str) -> Path:
        if name.endswith("0003.parquet"):
            raise KeyboardInterrupt
        return finish(source, folder, name)

    with monkeypatch.context() as patch:
        patch.setattr(postgres.landing, "finish", fail_at_the_third_file)
        with pytest.raises(KeyboardInterrupt):
            postgres.pull(home.settings)
    landed = sorted((home.settings.landing / "pulled" / "postgres").glob("*.parquet"))
    rows = sum(pq.read_metadata(path).num_rows for path in landed)
    assert len(landed) == 2
    assert max(pq.read_metadata(path).num_rows for path in landed) < 700
    rest = postgres.pull(home.settings)
    assert rest.rows == 3000 - rows
    assert not list((home.settings.landing / "pulled" / "postgres").glob(".*"))
    assert stored_sums(home) == table_sums(database)


def test_a_pull_whose_memory_is_lost_or_of_another_database_lands_all_rows_which_count_once(
    home: Home, database: Database
) -> None:
    postgres.pull(home.settings)
    state = home.settings.pulled / "postgres.parquet"
    state.write_bytes(state.read_bytes()[:50])
    assert postgres.pull(home.settings).rows == 100
    database.run(
        "alter table token_usage_sessions rename to former",
        OLD_TABLE,
        "insert into token_usage_sessions select * from former where input_tokens <= 10",
        "grant select on token_usage_sessions to reader",
    )
    assert postgres.pull(home.settings).rows == 10
    assert stored_sums(home)[0] == 100


def test_more_rows_in_the_overlap_than_are_remembered_are_landed_again_and_count_once(
    home: Home, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres, "WINDOW_ROWS", 30)
    postgres.pull(home.settings)
    again = postgres.pull(home.settings)
    assert (again.rows, again.rows_known) == (70, 30)
    assert stored_sums(home) == table_sums(database)


def test_a_table_in_another_schema_without_time_zones_is_read_as_utc(new_home: Any, database: Database) -> None:
    database.run(
        'create schema "App"',
        'grant usage on schema "App" to reader',
        "create table \"App\".usage as select session_id::text, session_started_at at time zone 'UTC' as "
        "session_started_at, last_updated_at at time zone 'UTC' as last_updated_at, model, input_tokens, output_tokens,"
        " cache_read_tokens, cache_creation_tokens from token_usage_sessions",
        'grant select on "App".usage to reader',
    )
    home: Home = new_home(postgres_dsn=database.reader, postgres_table="App.usage")
    assert postgres.pull(home.settings).rows == 100
    assert stored_sums(home) == table_sums(database)
    assert home.query("SELECT min(session_started_at)::varchar FROM raw.usage_sessions") == [("2026-03-01 00:01:00",)]
    assert postgres.pull(home.settings).rows == 0


def test_a_pull_can_change_nothing_in_the_database(home: Home, database: Database) -> None:
    database.run(
        "alter table token_usage_sessions rename to former",
        "create table trace (at timestamptz)",
        "grant all on trace, former to reader",
        "create function noted() returns boolean language plpgsql as "
        "'begin insert into trace values (now()); return true; end'",
        "create view token_usage_sessions as select * from former where noted()",
        "grant select on token_usage_sessions to reader",
    )
    with pytest.raises(ConfigurationError, match="reading the table would write"):
        postgres.pull(home.settings)
    assert database.row("select count(*) from trace") == (0,)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda dsn: re.sub(r":[^:]*@", ":WRONG-CANARY@", dsn), "refused the user or the password"),
        (lambda dsn: dsn.replace("postgresql://", "postgresql//"), "is no DSN"),
        (lambda dsn: dsn.replace("%40", "@").replace("%3A", ":"), "TOKEN_ANALYTICS_POSTGRES_DSN"),
        (lambda dsn: re.sub(r"127.0.0.1:\d+", "127.0.0.1:1", dsn), "no server listens"),
        (lambda dsn: re.sub(r"127.0.0.1:\d+", "nowhere.invalid", dsn), "is not known"),
        (lambda dsn: dsn + "_nowhere", "no such database"),
        (lambda dsn: dsn + "?nonsense=" + dsn[-8:], "TOKEN_ANALYTICS_POSTGRES_DSN"),
    ],
)
def test_a_failed_connection_is_one_clear_line_without_a_part_of_the_dsn(
    new_home: Any, database: Database, change: Any, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home: Home = new_home()
    dsn = change(database.reader)
    monkeypatch.setenv("TOKEN_ANALYTICS_POSTGRES_DSN", dsn)
    done = token_analytics("pull-postgres", "--home", home.root)
    assert sentence in done.problem
    for part in ("CANARY", "word", "pass/", "reader%", "nowhere.invalid", dsn):
        assert part not in done.problem.replace("password", "").replace("~/.pgpass", "")
    assert not any(part in repr(settings.load(home.root)) for part in ("CANARY", "pass%2F", "127.0.0.1"))


def test_what_is_wrong_with_a_table_is_one_clear_line(new_home: Any, database: Database) -> None:
    database.run(
        "create table empty ()",
        "create table texts as select session_id, session_started_at, last_updated_at::text, model, input_tokens, "
        "output_tokens, cache_read_tokens, cache_creation_tokens from token_usage_sessions",
        "create table secret as select * from token_usage_sessions",
    )

    def problem(**changed: Any) -> str:
        home: Home = new_home(postgres_dsn=database.reader, **changed)
        with pytest.raises(ConfigurationError) as caught:
            postgres.pull(home.settings)
        return str(caught.value)

    assert "no table nowhere" in problem(postgres_table="nowhere")
    assert "no table empty" in problem(postgres_table="empty")
    assert "last_updated_at is of type text" in problem(postgres_table="texts")
    assert "grant select" in problem(postgres_table="secret")
    assert "missing required column" in problem(postgres_table="pg_catalog.pg_class")
    database.run(
        "alter table token_usage_sessions rename to former",
        "create view token_usage_sessions as select former.* from former, (select pg_sleep(1)) as slow",
        "grant select on token_usage_sessions to reader",
    )
    assert "postgres_timeout_seconds" in problem(postgres_timeout_seconds=0.2)


def test_no_part_of_the_password_is_stored_told_or_shown(
    new_home: Any, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dagster as dg

    from pipeline.assets.home import Home as Resource
    from pipeline.assets.postgres import pulled_sessions

    home: Home = new_home()
    monkeypatch.setenv("TOKEN_ANALYTICS_POSTGRES_DSN", database.reader)
    records = []
    with dg.DagsterInstance.ephemeral() as instance:
        for password in (READERS_PASSWORD, "WRONG-CANARY"):
            monkeypatch.setenv("TOKEN_ANALYTICS_POSTGRES_DSN", database.server.dsn(database.name, "reader", password))
            result = dg.materialize(
                [pulled_sessions],
                resources={"home": Resource(path=str(home.root))},
                instance=instance,
                raise_on_error=False,
            )
            records += [repr(event) for event in result.all_events]
            records += [repr(record) for record in instance.all_logs(result.run_id)]
            assert result.success == (password == READERS_PASSWORD)
    assert token_analytics("pull-postgres", "--home", home.root).code == 2
    monkeypatch.setenv("TOKEN_ANALYTICS_POSTGRES_DSN", database.reader)
    records.append(repr(token_analytics("pull-postgres", "--home", home.root, "--json")))
    home.ingest()
    records.append(repr(home.tables("ingest", "raw", "scope")))
    secrets = (READERS_PASSWORD, "pass%2Fword", "WRONG-CANARY", "reader:")
    assert not [secret for secret in secrets if secret in "".join(records)]
    files = [path.read_bytes() for path in home.root.rglob("*") if path.is_file()]
    assert files
    assert not [secret for secret in secrets if any(secret.encode() in content for content in files)]


def test_nothing_is_connected_to_where_no_database_is_configured(new_home: Any, monkeypatch: Any) -> None:
    home: Home = new_home()
    for unset in ("", None):
        if unset is not None:
            monkeypatch.setenv("TOKEN_ANALYTICS_POSTGRES_DSN", unset)
        assert "no database is configured" in token_analytics("pull-postgres", "--home", home.root).problem
        monkeypatch.delenv("TOKEN_ANALYTICS_POSTGRES_DSN", raising=False)


def test_the_sample_takes_no_real_data(database: Database) -> None:
    sample = settings.load(CHECKOUT / "data" / "sample", postgres_dsn=database.reader)
    with pytest.raises(ConfigurationError, match="--home data"):
        postgres.pull(sample)
    assert not (sample.landing / "pulled").exists()


def test_one_pull_of_a_home_runs_at_a_time(home: Home) -> None:
    with (
        postgres.landing.opened(home.settings, postgres.SOURCE),
        pytest.raises(ConfigurationError, match="another process is filling landing/pulled/postgres"),
    ):
        postgres.pull(home.settings)


def test_a_pulled_table_is_read_by_the_format_of_its_exports(home: Home) -> None:
    (file,) = postgres.pull(home.settings).files
    with warehouse.connect(home.settings) as connection:
        loader.ingest(connection, home.settings)
    assert home.ledger(f"pulled/postgres/{file.name}")["format"] == "token_usage_sessions"
