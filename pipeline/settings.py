"""All settings, typed, with default and unit.

Belongs here: reading the environment (TOKEN_ANALYTICS_*) and token_analytics.toml, and the layout of a home.
Does not belong here: opening files or databases; nothing else in the package reads the environment.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import tomllib
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self, get_args
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from pipeline import limits

# Bounds of settings: a greater value is a typing error, or more than a machine has.
MAX_USD = 1e12
MAX_RATE = 1e6
MAX_THREADS = 256
MAX_MEMORY_BYTES = 64 * 10**12
CONTAINER_MEMORY = Path("/sys/fs/cgroup/memory.max")  # of a container, which sees the memory of the whole machine
CONFIG_NAME = "token_analytics.toml"
ENVIRONMENT_PREFIX = "TOKEN_ANALYTICS_"
QUOTES_NAME = "quotes.toml"  # `token-analytics quote add` writes it into the home
# Default home if the current folder has no data: a copy of the sample.
SAMPLE_COPY = Path("token-analytics-sample")
SAMPLE_HOMES = (Path("data/sample"), SAMPLE_COPY)
MECHANISM_NAMES = (
    "per_token",
    "bundle",
    "hybrid",
    "insurance",
    "allowance",
    "tiered",
    "commitment",
    "credits",
    "session_cap",
)
CustomerDimension = Literal["user_id", "api_key", "workspace", "session_id"]


BillingMode = Literal["metered", "subscription"]


class ConfigurationError(Exception):
    """A setting or input that the user has to change; the message says in one sentence what is wrong and what to do."""


class BilledKey(BaseModel):
    """The billed key that pays for logs; a plain string is the key without workspace."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: str = Field(min_length=1)
    workspace: str = Field(default="", description="'' means the workspace in which the bill names the key.")

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, value: Any) -> Any:
        return {"api_key": value} if isinstance(value, str) else value


class Reconciliation(BaseModel):
    """Settings of the comparison of logs with the bill."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    scope: dict[str, BilledKey] = Field(
        default_factory=dict,
        description="Log format, or a pattern of paths -> the billed key that pays for these logs.",
    )


class BillingModes(BaseModel):
    """Keys and projects paid by usage, or covered by a subscription."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_keys: dict[str, BillingMode] = Field(default_factory=dict)
    projects: dict[str, BillingMode] = Field(default_factory=dict)


class Tier(BaseModel):
    """A part of the bill with a rate of its own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    from_usd: float = Field(ge=0, le=MAX_USD, allow_inf_nan=False)
    rate: float = Field(ge=0, le=MAX_RATE, allow_inf_nan=False)


class Terms(BaseModel):
    """A contract on the bill of a month: fee + (1 - discount) x max(commitment, usage); amounts in USD a month.

    Usage is overage_rate x (bill - allowance)+, or the bill at the rates of the tiers. A term that is not named has no
    effect.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    fee_usd: float = Field(default=0.0, ge=0, le=MAX_USD, allow_inf_nan=False)
    commitment_usd: float = Field(default=0.0, ge=0, le=MAX_USD, allow_inf_nan=False)
    discount: float = Field(default=0.0, ge=0, le=1)
    allowance_usd: float = Field(default=0.0, ge=0, le=MAX_USD, allow_inf_nan=False)
    overage_rate: float = Field(default=1.0, ge=0, le=MAX_RATE, allow_inf_nan=False)
    tiers: tuple[Tier, ...] = Field(default=(), max_length=100)
    tier_kind: Literal["graduated", "volume"] = "graduated"

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        if self.tiers and (self.allowance_usd or self.overage_rate != 1):
            raise ValueError("name either tiers, or an allowance and its overage rate")
        edges = [tier.from_usd for tier in self.tiers]
        if edges and (edges[0] != 0 or sorted(set(edges)) != edges):
            raise ValueError("tiers must begin at from_usd = 0 and rise")
        return self


class Savings(BaseModel):
    """What counts as waste in analysis.recommendations; docs/savings.md explains each kind."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    days: int | None = Field(
        default=None, ge=1, le=36_600, description="Number of latest days to analyse; all by default."
    )
    floor_usd: float = Field(
        default=0.01,
        ge=0,
        le=MAX_USD,
        allow_inf_nan=False,
        description="Smallest saving a month that is recommended.",
    )
    keep_alive_minutes: int = Field(
        default=15, ge=5, le=100_000, description="How long an application would keep an unread cache alive."
    )
    long_context_trim: float = Field(
        default=0.2, ge=0, lt=1, description="Share of a prompt that could be cut to stay below the long-context limit."
    )
    runaway_requests: int = Field(
        default=10, ge=1, le=1_000_000, description="Requests without output in a row after which a session is stopped."
    )
    runaway_output_tokens: int = Field(
        default=10,
        ge=0,
        le=1_000_000_000,
        description="Requests with at most so many output tokens count as without output.",
    )


class WhatIf(BaseModel):
    """A question of the user: the same traffic at other rates. It never counts as a saving."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: dict[str, str] = Field(default_factory=dict, description="Used model -> replacement.")
    usage_type: Literal["batch", "flex"] | None = Field(
        default=None, description="Tier to price all standard usage at."
    )

    @model_validator(mode="after")
    def _asks(self) -> Self:
        if not (self.models or self.usage_type):
            raise ValueError("name models, or usage_type, or both")
        return self


PullSource = Literal["anthropic_usage", "anthropic_cost", "openai_usage", "openai_costs"]
BucketWidth = Literal["1m", "1h", "1d"]
_LOOPBACK = ("localhost", "127.0.0.1", "[::1]")


class ProviderPull(BaseModel):
    """How to call a provider's API; the key itself is only in the environment, never in a setting."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base_url: str
    key_env: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", description="Variable of the environment with the key.")
    bucket_width: BucketWidth = "1m"
    group_by: tuple[str, ...]

    @field_validator("base_url", mode="after")
    @classmethod
    def _keeps_the_key(cls, url: str) -> str:
        parts = urlsplit(url)
        host = parts.netloc.rpartition(":")[0] or parts.netloc
        if parts.username or parts.password:
            raise ValueError("must not hold a name or password: the key is in the variable that key_env names")
        if parts.scheme != "https" and not (parts.scheme == "http" and host in _LOOPBACK):
            raise ValueError("must begin with https://, or the key would be sent unencrypted")
        return url


class AnthropicPull(ProviderPull):
    """Anthropic's Admin API."""

    base_url: str = "https://api.anthropic.com"
    key_env: str = "ANTHROPIC_ADMIN_KEY"
    group_by: tuple[
        Literal["api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo", "speed"], ...
    ] = Field(default=("api_key_id", "workspace_id", "model", "service_tier", "context_window"), max_length=5)


class OpenAIPull(ProviderPull):
    """OpenAI's organisation API."""

    base_url: str = "https://api.openai.com"
    key_env: str = "OPENAI_ADMIN_KEY"
    group_by: tuple[Literal["project_id", "user_id", "api_key_id", "model", "batch", "service_tier"], ...] = (
        "project_id", "api_key_id", "model", "batch", "service_tier",
    )  # fmt: skip


class Pull(BaseModel):
    """What to pull from the providers' APIs; without sources, nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sources: tuple[PullSource, ...] = ()
    days: int = Field(default=3, ge=1, le=366, description="Number of last complete days that each pull fetches.")
    attempts: int = Field(default=8, ge=1, le=20, description="How often a page is requested before giving up.")
    timeout_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="How long an answer may take to begin or go on."
    )
    anthropic: AnthropicPull = AnthropicPull()
    openai: OpenAIPull = OpenAIPull()


def default_memory_limit() -> str:
    """A quarter of the memory of the machine, or of what its container may use, from 1 GB to 4 GB."""
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with contextlib.suppress(OSError, ValueError):  # no container, or one without a limit ("max")
        available = min(available, int(CONTAINER_MEMORY.read_text(encoding="ascii")))
    return f"{min(max(available // 4, 10**9), 4 * 10**9) // 10**6}MB"


class Settings(BaseSettings):
    """Settings of one run over one home; see docs/settings.md for the table of them."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    home: Path = Field(default=Path("data/sample"), description="Folder with landing/ and all results.")
    sources: tuple[Path, ...] = Field(
        default=(), description="Further log folders, read in place and never written to."
    )
    customer_dimension: CustomerDimension = Field(
        default="user_id", description="Who pays a bill in the pricing tables."
    )
    budget_usd: float | None = Field(
        default=None, gt=0, le=MAX_USD, description="Budget of one bill in USD; none by default."
    )
    budget_probability: float = Field(
        default=0.95, gt=0, lt=1, description="Probability that a recommended contract stays within budget_usd."
    )
    target_variance_reduction: float = Field(
        default=0.75, ge=0, le=1, description="Share of a bill's variance that a recommended contract removes."
    )
    loading_lambda: float = Field(
        default=0.2,
        ge=0,
        le=1000,
        allow_inf_nan=False,
        description="Loading of principle expected_value, a share of the premium.",
    )
    cost_of_capital: float = Field(
        default=0.06,
        ge=0,
        le=10,
        description="Loading of principle cost_of_capital, a share of TVaR99 - mean of the ceded loss.",
    )
    pool_customers: int = Field(
        default=1000, ge=1, le=1_000_000, description="Independent customers over whom solvency_99 pools losses."
    )
    quotes: dict[str, Terms] = Field(
        default_factory=dict, description="Offered contracts, priced as quoted; also <home>/quotes.toml."
    )
    mechanisms: dict[str, Terms] = Field(
        default_factory=dict, description="Further mechanisms, compared at equal revenue with the built-in ones."
    )
    savings: Savings = Field(default=Savings(), description="What counts as waste in the recommendations.")
    what_if: dict[str, WhatIf] = Field(
        default_factory=dict, description="Questions by name: the same traffic with other models, or under batch."
    )
    seed: int = Field(default=20251128, ge=0, le=2**63 - 1, description="Seed of every simulation and bootstrap.")
    memory_limit: str = Field(
        default_factory=default_memory_limit,
        pattern=r"^\d+(\.\d+)?\s*[KMGT]i?B$",
        description="Memory of a run, within 300 MB; DuckDB gets 70%, and spills to the home beyond that. By default "
        "a quarter of the machine or container, from 1 to 4 GB.",
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=MAX_THREADS,
        description="Threads of DuckDB, processes that read or fit; all cores by default.",
    )
    user_ids: Literal["plain", "pseudonym", "drop"] = Field(
        default="plain", description="User ids in published tables."
    )
    rate_overrides: Path | None = Field(
        default=None, description="CSV of own rates; <home>/rate_overrides.csv if it exists."
    )
    publish_contract_rates: bool = Field(default=False, description="Show overridden rates in marts.model_rates.")
    model_aliases: dict[str, str] = Field(default_factory=dict, description="Other names of models -> model id.")
    api_key_aliases: dict[str, str] = Field(
        default_factory=dict, description="Former names and ids of API keys -> current name."
    )
    workspace_aliases: dict[str, str] = Field(
        default_factory=dict, description="Former names and ids of workspaces and projects -> current name."
    )
    account_channels: dict[Literal["anthropic", "openai"], Literal["csv", "api"]] = Field(
        default_factory=dict,
        description="Channel of a provider's account that counts if both have a day; csv by default.",
    )
    pull: Pull = Field(default=Pull(), description="What to pull from the providers' APIs; nothing by default.")
    reconciliation: Reconciliation = Field(
        default=Reconciliation(), description="Paying keys of logs that do not name their key."
    )
    billing_mode: BillingModes = Field(
        default=BillingModes(), description="Keys and projects whose usage a subscription covers."
    )
    shared_cost_rule: Literal["by_direct_cost", "evenly"] = Field(
        default="by_direct_cost",
        description="How costs of the team `shared` in allocation.csv are split over the teams.",
    )
    analysis_segments: int = Field(
        default=50,
        ge=0,
        le=10_000,
        description="Number of most expensive segments per measure that are analysed besides `all`.",
    )
    analysis_min_rows: int = Field(
        default=50,
        ge=50,
        le=1_000_000_000,
        description="Observations (for daily tables: days) that a segment needs for a verdict.",
    )
    anomaly_floor_usd: float = Field(
        default=1.0,
        ge=0,
        le=MAX_USD,
        description="Smallest excess over the expected cost that makes a day an anomaly, in USD.",
    )
    first_usage_date: date = Field(
        default=limits.FIRST_USAGE_DATE, ge=date(2000, 1, 1), description="Rows before this day are rejected."
    )
    max_days_ahead: int = Field(
        default=limits.MAX_DAYS_AHEAD,
        ge=1,
        le=366,
        description="Rows more than this many days in the future are rejected.",
    )
    max_row_tokens: int = Field(
        default=limits.MAX_ROW_TOKENS,
        ge=10**9,
        le=limits.MAX_ROW_TOKENS,
        description="Rows with a greater count are rejected.",
    )
    max_row_usd: int = Field(
        default=limits.MAX_ROW_USD,
        ge=1,
        le=10**10,
        description="Rows with a greater amount are rejected.",
    )
    max_rejected_share: float | None = Field(
        default=None,
        ge=0,
        le=1,
        description="Share of rejected rows above which nothing is published; none by default.",
    )
    lock_timeout_seconds: float = Field(
        default=300.0, ge=0, le=2e6, description="How long a run waits for another run to end."
    )
    settle_seconds: float = Field(
        default=1.0, ge=0, le=3600, description="A file changed more recently is checked twice before it is read."
    )
    published_group: str | None = Field(default=None, description="Unix group that may read the published files.")
    postgres_dsn: SecretStr | None = Field(
        default=None, description="Database with token_usage_sessions, in libpq's syntax; none by default."
    )
    postgres_table: str = Field(
        default="token_usage_sessions",
        pattern=r"^[^.\x00]+(\.[^.\x00]+)?$",
        description="Table or view of sessions; schema.table if its schema is not in the search path.",
    )
    postgres_overlap_seconds: float = Field(
        default=86_400.0, ge=0, le=3e9, description="How much later than its last_updated_at a row may be committed."
    )
    postgres_timeout_seconds: float = Field(
        default=900.0, ge=0.001, le=2e6, description="Time limit of a pull's statement in the database."
    )
    stream_url: SecretStr | None = Field(
        default=None, description="Redis server with the stream of tracker events; none by default."
    )
    stream_name: str = Field(default="token-analytics:events", min_length=1, description="Key of that stream.")
    stream_group: str = Field(
        default="token-analytics", min_length=1, description="Consumer group of this home: one group per home."
    )
    stream_delete: bool = Field(default=False, description="Delete drained entries from the stream.")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order: arguments, environment, token_analytics.toml of the home, else that of the current folder."""
        home = init_settings().get("home")
        folders = [Path(home)] if home else []
        files = [folder / CONFIG_NAME for folder in [*folders, Path.cwd()]]
        found = next((file for file in files if file.is_file()), None)
        files = [found] if found else []
        files += [folder / QUOTES_NAME for folder in folders if (folder / QUOTES_NAME).is_file()]
        return (
            init_settings,
            env_settings,
            *(TomlConfigSettingsSource(settings_cls, toml_file=file) for file in files),
        )

    @field_validator("quotes", "mechanisms", mode="after")
    @classmethod
    def _named(cls, terms: dict[str, Terms]) -> dict[str, Terms]:
        if taken := sorted(name for name in terms if name in MECHANISM_NAMES or not name.strip()):
            raise ValueError(f"{taken[0]!r} is a reserved name: choose another")
        return terms

    @field_validator("memory_limit", mode="after")
    @classmethod
    def _within_reason(cls, limit: str) -> str:
        if not 10**6 <= memory_bytes(limit) <= MAX_MEMORY_BYTES:
            raise ValueError("must lie between 1MB and 64TB")
        return limit

    @field_validator("sources", mode="after")
    @classmethod
    def _expand(cls, paths: tuple[Path, ...]) -> tuple[Path, ...]:
        return tuple(path.expanduser() for path in paths)

    @field_validator("home", mode="after")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    def limits(self) -> limits.Limits:
        """The limits of rows for a run that starts now."""
        return limits.Limits(
            datetime.combine(self.first_usage_date, time(), UTC),
            datetime.now(UTC) + timedelta(days=self.max_days_ahead),
            self.max_row_tokens,
            self.max_row_usd,
        )

    @cached_property
    def landing(self) -> Path:
        """Input files, at any depth; existing files are never changed, and only pulls add files."""
        return self.home / "landing"

    @cached_property
    def warehouse(self) -> Path:
        """The private DuckDB file, which only the pipeline opens."""
        return self.home / "warehouse.duckdb"

    @cached_property
    def published(self) -> Path:
        """The DuckDB file that people and tools open."""
        return self.home / "token_analytics.duckdb"

    @cached_property
    def outputs(self) -> Path:
        """One Parquet file for each table of schema analysis."""
        return self.home / "outputs"

    @cached_property
    def reports(self) -> Path:
        """HTML reports."""
        return self.home / "reports"

    @cached_property
    def dagster_home(self) -> Path:
        """Run history, and dbt's profile and logs."""
        return self.home / "dagster"

    @cached_property
    def quarantine(self) -> Path:
        """Private text of rejected lines, one compressed file for each input file."""
        return self.home / "quarantine"

    @cached_property
    def pulled(self) -> Path:
        """State of pulls, one file per source."""
        return self.home / "pulled"

    @cached_property
    def allocation_file(self) -> Path | None:
        """The CSV that assigns usage to teams, if there is one."""
        return self._in_home("allocation.csv")

    @cached_property
    def invoices_file(self) -> Path | None:
        """The CSV of invoices, if there is one."""
        return self._in_home("invoices.csv")

    def _in_home(self, name: str) -> Path | None:
        return path if (path := self.home / name).is_file() else None

    @cached_property
    def overrides_file(self) -> Path | None:
        """The CSV of own rates, if there is one."""
        if self.rate_overrides is not None:
            return self.rate_overrides.expanduser()
        return self._in_home("rate_overrides.csv")


def memory_bytes(limit: str) -> float:
    """The setting memory_limit in bytes."""
    number = limit.rstrip("KMGTiB ")
    unit = limit.removeprefix(number).strip()
    step = 1024.0 if "i" in unit else 1000.0
    return float(number) * float(step ** ("KMGT".index(unit[0]) + 1))


def default_home() -> Path:
    """TOKEN_ANALYTICS_HOME, `data/` if `data/landing` holds files, `data/sample` if it has landing/, SAMPLE_COPY."""
    if named := os.environ.get("TOKEN_ANALYTICS_HOME"):
        return Path(named)
    landing = Path("data/landing")
    if landing.is_dir() and any(path.is_file() for path in landing.rglob("*")):
        return Path("data")
    sample = Path("data/sample")
    return sample if (sample / "landing").is_dir() else SAMPLE_COPY


def environment_key(name: str) -> str | None:
    """The secret in an environment variable; callers must not log or store it."""
    return (os.environ.get(name) or "").strip() or None


def cache_dir() -> Path:
    """Folder for files that can be regenerated: `token-analytics` in XDG_CACHE_HOME, by default in ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "token-analytics"


def load(home: Path | None = None, **overrides: Any) -> Settings:
    """Settings for `home` (default: `default_home()`).

    Raises:
        ConfigurationError: the home is no folder, or a setting is unknown or has an invalid value; the message
            names it.

    """
    _refuse_unknown_variables()
    try:
        settings = Settings(home=home or default_home(), **overrides)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise ConfigurationError(f"no setting is called {name!r} ({CONFIG_NAME}){_nearest(first['loc'])}") from None
        raise ConfigurationError(
            f"setting {name!r} ({ENVIRONMENT_PREFIX}{name.upper()} or {CONFIG_NAME}): {first['msg']}"
        ) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{CONFIG_NAME} is not valid TOML: {error}") from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{CONFIG_NAME} is not valid UTF-8 (byte {error.start + 1:,}): save it with that encoding"
        ) from None
    if not settings.home.is_dir() and settings.home != SAMPLE_COPY.resolve():
        raise ConfigurationError(
            f"there is no folder {settings.home}: to create a new home, make its landing folder "
            f"(mkdir -p {settings.landing})"
        )
    return settings


def _refuse_unknown_variables() -> None:
    """Refuse unknown TOKEN_ANALYTICS_* variables: a misspelt one would be ignored silently."""
    for variable in os.environ:
        name = variable.upper().removeprefix(ENVIRONMENT_PREFIX)
        if name == variable.upper() or name.startswith("TEST_"):
            continue
        if name.lower() not in Settings.model_fields:
            raise ConfigurationError(f"no setting is called {variable} (environment){_nearest((name.lower(),))}")


def _nearest(place: tuple[int | str, ...]) -> str:
    """The setting with the most similar name at the same level, as the end of a sentence."""
    model: type[BaseModel] | None = Settings
    for part in place[:-1]:
        annotation = model.model_fields[str(part)].annotation if model and part in model.model_fields else None
        models = [each for each in (annotation, *get_args(annotation)) if isinstance(each, type)]
        model = next((each for each in models if issubclass(each, BaseModel)), model)
    nearest = difflib.get_close_matches(str(place[-1]), model.model_fields if model else (), n=1, cutoff=0.5)
    return f": did you mean {'.'.join(map(str, (*place[:-1], *nearest)))}?" if nearest else "; see docs/settings.md"
