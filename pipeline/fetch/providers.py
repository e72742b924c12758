"""Fetches usage and costs from the providers' APIs, and lands the answers as files.

Belongs here: requesting page by page, retries, and landing the answers. Does not belong here: reading the answers
(sources), and when a pull runs (assets, cli). Only sources in the settings or on the command line are requested. A key
comes from the environment and is sent in one header of each request: messages name only its variable, and never quote
an answer.

One file is landed per stretch of days: a line with the request and its time, then each page unchanged on a line of its
own. A file appears only when it is complete.
"""

from __future__ import annotations

import email.utils
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.fetch import landing
from pipeline.ingest.sources.provider_pages import HEADER, results_of
from pipeline.settings import ConfigurationError, ProviderPull, PullSource, Settings, environment_key

if TYPE_CHECKING:
    import requests

# Largest number of buckets in a page (of both providers), and the days of one file that follow from it.
PAGE_BUCKETS = {"1m": 1440, "1h": 168, "1d": 31}
DAYS_OF_A_FILE = {"1m": 1, "1h": 7, "1d": 31}
BUCKET_SECONDS = {"1m": 60, "1h": 3600, "1d": 86400}
CONNECT_SECONDS = 10.0
# The n-th wait is 2^n seconds, at most MAX_BACK_OFF; if a provider asks for more than MAX_RETRY_AFTER, the pull ends.
MAX_BACK_OFF_SECONDS = 60.0
MAX_RETRY_AFTER_SECONDS = 900.0
_ERROR_TYPE = re.compile(r"[a-z_]{1,60}")


class PullError(ConfigurationError):
    """An answer or timeout that ends a pull; the message says what to do, without the key."""


@dataclass(frozen=True)
class _Api:
    """One API: its path, names of its parameters, and its default grouping."""

    provider: str
    what: str
    path: str
    first: str
    after: str
    group: str
    group_by: tuple[str, ...] | None = None
    permission: str = ""

    @property
    def in_seconds(self) -> bool:
        return self.provider == "openai"


_ANTHROPIC = "an Admin API key (sk-ant-admin...), which an admin of the organisation makes in the Console"
_OPENAI = "an admin key (sk-admin-...) with permission to read usage (api.usage.read)"
APIS: Mapping[PullSource, _Api] = {
    "anthropic_usage": _Api(
        "anthropic", "usage", "/v1/organizations/usage_report/messages", "starting_at", "ending_at", "group_by[]",
        permission=_ANTHROPIC,
    ),
    "anthropic_cost": _Api(
        "anthropic", "cost", "/v1/organizations/cost_report", "starting_at", "ending_at", "group_by[]",
        ("workspace_id", "description"), _ANTHROPIC,
    ),
    "openai_usage": _Api(
        "openai", "usage", "/v1/organization/usage/completions", "start_time", "end_time", "group_by",
        permission=_OPENAI,
    ),
    "openai_costs": _Api(
        "openai", "cost", "/v1/organization/costs", "start_time", "end_time", "group_by",
        ("project_id", "line_item"), _OPENAI,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Stretch:
    """Days [first_day, last_day] of one source that become one file."""

    source: PullSource
    first_day: date
    last_day: date
    bucket_width: str
    group_by: tuple[str, ...]


@dataclass(frozen=True)
class Landed:
    """A file that a pull has landed; `path` is relative to the home."""

    stretch: Stretch
    path: str
    pages: int
    results: int


def default_days(settings: Settings, today: date) -> tuple[date, date]:
    """The last `pull.days` complete days, which each pull fetches again, because numbers can still change."""
    return today - timedelta(days=settings.pull.days), today - timedelta(days=1)


def pull(
    settings: Settings,
    first_day: date,
    last_day: date,
    sources: Sequence[PullSource] = (),
    *,
    tell: Callable[[Landed], None] = lambda landed: None,
    sleep: Callable[[float], None] = time.sleep,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> list[Landed]:
    """Fetch the UTC days [first_day, last_day] and land the answers below landing/pulled/.

    If a source fails, the others still run; files landed before a failure stay, each complete in itself.

    Args:
        settings: `pull` names the sources, and the environment variables of the keys.
        first_day: of the range.
        last_day: of the range, included.
        sources: those of `settings.pull.sources` by default.
        tell: called with each landed file.
        sleep: waits for a number of seconds.
        now: the time of the pull; of two pulls of the same usage, the later one counts.

    Raises:
        ConfigurationError: nothing is to be pulled, the days are no range, the home is the sample's, or another pull
            fills the same folder.
        PullError: one or more sources failed; the message has one sentence for each.

    """
    chosen = tuple(dict.fromkeys(sources or settings.pull.sources))
    if not chosen:
        raise ConfigurationError(
            f"nothing to pull: name sources ({', '.join(APIS)}) in [pull] of token_analytics.toml, or with --source"
        )
    if first_day > last_day:
        raise ConfigurationError(f"--from {first_day} is after --to {last_day}: exchange them")
    pulled_at = now().astimezone(UTC).replace(microsecond=0)
    landed: list[Landed] = []
    failed: list[str] = []
    for source in chosen:
        with landing.opened(settings, source) as folder:
            try:
                with _client(settings, source, sleep, now) as client:
                    for stretch in stretches(settings, source, first_day, last_day):
                        landed.append(_land(settings, folder, client, stretch, pulled_at))
                        tell(landed[-1])
            except PullError as error:
                failed.append(f"{source}: {error}")
    if failed:
        raise PullError("; ".join(failed))
    return landed


def stretches(settings: Settings, source: PullSource, first_day: date, last_day: date) -> Iterator[Stretch]:
    """The range in stretches that the API answers with one page each, within its documented limits."""
    api = APIS[source]
    asked = _requested_days(settings, source)
    width = asked.bucket_width if api.what == "usage" else "1d"
    group_by = api.group_by or asked.group_by
    while first_day <= last_day:
        end = min(last_day, first_day + timedelta(days=DAYS_OF_A_FILE[width] - 1))
        yield Stretch(source, first_day, end, width, group_by)
        first_day = end + timedelta(days=1)


def _requested_days(settings: Settings, source: PullSource) -> ProviderPull:
    asked: ProviderPull = getattr(settings.pull, APIS[source].provider)
    return asked


# ------------------------------------------------------------------------------------------------------- landing


def _land(settings: Settings, folder: Path, client: _Client, stretch: Stretch, pulled_at: datetime) -> Landed:
    """Land the pages of a stretch as one file, which appears when complete."""
    api = APIS[stretch.source]
    days = f"{stretch.first_day}_{stretch.last_day}.{stretch.bucket_width}"
    partial = landing.unfinished(folder, days)
    end = stretch.last_day + timedelta(days=1)
    header = {
        "source": stretch.source,
        "group_by": list(stretch.group_by),
        "bucket_width": stretch.bucket_width,
        "bucket_seconds": BUCKET_SECONDS[stretch.bucket_width],
        "from": f"{stretch.first_day}T00:00:00Z",
        "to": f"{end}T00:00:00Z",
        "pulled_at": f"{pulled_at:%Y-%m-%dT%H:%M:%SZ}",
    }
    pages = results = 0
    try:
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(json.dumps({HEADER: header}) + "\n")
            for text, found in client.pages(_parameters(api, stretch)):
                # line ends in JSON are only between values, where they equal a space
                file.write(re.sub(r"[\r\n]+", " ", text.strip()) + "\n")
                pages += 1
                results += found
        target = landing.finish(partial, folder, f"{days}.{pulled_at:%Y%m%dT%H%M%SZ}.jsonl")
    finally:
        partial.unlink(missing_ok=True)
    return Landed(stretch, str(target.relative_to(settings.home)), pages, results)


def _parameters(api: _Api, stretch: Stretch) -> dict[str, Any]:
    begin = datetime(stretch.first_day.year, stretch.first_day.month, stretch.first_day.day, tzinfo=UTC)
    end = begin + timedelta(days=(stretch.last_day - stretch.first_day).days + 1)
    first, after = (
        (int(moment.timestamp()) if api.in_seconds else f"{moment:%Y-%m-%dT%H:%M:%SZ}") for moment in (begin, end)
    )
    return {
        api.first: first,
        api.after: after,
        "bucket_width": stretch.bucket_width,
        "limit": PAGE_BUCKETS[stretch.bucket_width],
        api.group: list(stretch.group_by),
    }


# ---------------------------------------------------------------------------------------------------- requesting


@contextmanager
def _client(
    settings: Settings, source: PullSource, sleep: Callable[[float], None], now: Callable[[], datetime]
) -> Iterator[_Client]:
    import requests

    api, asked = APIS[source], _requested_days(settings, source)
    key = environment_key(asked.key_env)
    if not key:
        raise PullError(f"there is no key in {asked.key_env}: set it to {api.permission}")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise PullError(f"what {asked.key_env} holds is no key: it has blanks, line ends or other characters in it")
    with requests.Session() as session:
        session.headers["User-Agent"] = "token-analytics"
        if api.provider == "anthropic":
            session.headers["anthropic-version"] = "2023-06-01"
        # an auth object, because `requests` would otherwise look for a key in ~/.netrc
        session.auth = _auth("x-api-key" if api.provider == "anthropic" else "Authorization", key)
        yield _Client(session, asked.base_url.rstrip("/"), api, asked.key_env, settings, sleep, now)


def _auth(header: str, key: str) -> Callable[[requests.PreparedRequest], requests.PreparedRequest]:
    def sign(request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers[header] = f"Bearer {key}" if header == "Authorization" else key
        return request

    return sign


class _Client:
    """Requests one API with its key, with retries."""

    def __init__(
        self,
        session: requests.Session,
        base_url: str,
        api: _Api,
        key_env: str,
        settings: Settings,
        sleep: Callable[[float], None],
        now: Callable[[], datetime],
    ) -> None:
        self._session, self._api, self._key_env = session, api, key_env
        self._url = base_url + api.path
        self._attempts, self._timeout = settings.pull.attempts, settings.pull.timeout_seconds
        self._sleep, self._now = sleep, now

    def pages(self, parameters: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
        """The text of each page, and the number of its results.

        Raises:
            PullError: the key is refused, the provider does not answer, or its pages never end.

        """
        seen: set[str] = set()
        following: dict[str, str] = {}
        while True:
            text, page = self._ask({**parameters, **following})
            yield text, sum(len(results_of(bucket)) for bucket in page["data"])
            if not page.get("has_more"):
                return
            cursor = page.get("next_page")
            if not isinstance(cursor, str) or not cursor or cursor in seen:
                raise PullError(f"{self._api.path} says that there are more pages, and not where: try again later")
            seen.add(cursor)
            following = {"page": cursor}

    def _ask(self, parameters: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        import requests

        problem, wait = "", 0.0
        for attempt in range(self._attempts):
            if attempt:
                self._sleep(wait)
            wait = min(2.0**attempt, MAX_BACK_OFF_SECONDS)
            try:
                answer = self._session.get(
                    self._url,
                    params=dict(parameters),
                    timeout=(CONNECT_SECONDS, self._timeout),
                    # a redirect would send the key elsewhere
                    allow_redirects=False,
                )
            except requests.RequestException as error:
                # the error's text may contain headers: only its type is shown
                problem = f"no complete answer ({type(error).__name__})"
                continue
            if answer.status_code == 200:
                try:
                    return _page(answer.content)
                except (ValueError, RecursionError):
                    problem = "an answer that is no page"
                    continue
            problem = f"status {answer.status_code}"
            if answer.status_code == 429 or answer.status_code >= 500:
                asked = self._retry_after(answer.headers.get("retry-after", ""))
                if asked > MAX_RETRY_AFTER_SECONDS:
                    raise PullError(f"{self._api.path} asks to wait {asked:,.0f} seconds ({problem}): pull again then")
                wait = max(wait, asked)
                continue
            self._refuse(answer)
        raise PullError(
            f"{self._api.path} did not answer {self._attempts} times, last: {problem}; what is complete is landed, and "
            "the next pull asks for the rest"
        )

    def _retry_after(self, stated: str) -> float:
        """Seconds to wait, stated by the provider as seconds or a date; 0 if not stated."""
        if re.fullmatch(r"\d+(\.\d+)?", stated.strip()):
            return float(stated)
        try:
            moment = email.utils.parsedate_to_datetime(stated)
        except ValueError:
            return 0.0
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return max((moment - self._now()).total_seconds(), 0.0)

    def _refuse(self, answer: requests.Response) -> None:
        """Raise an error for an answer that a retry would not change."""
        if answer.status_code == 401:
            raise PullError(f"the key in {self._key_env} is refused (401): it has to be {self._api.permission}")
        if answer.status_code == 403:
            raise PullError(
                f"the key in {self._key_env} may not read {self._api.path} (403): it has to be {self._api.permission}"
            )
        kind = ""
        try:
            stated = answer.json()["error"]["type"]
            kind = f", {stated}" if _ERROR_TYPE.fullmatch(stated) else ""
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        raise PullError(
            f"{self._api.path} refuses the request ({answer.status_code}{kind}): check base_url, group_by and "
            "bucket_width of the provider in [pull]"
        )


def _page(content: bytes) -> tuple[str, dict[str, Any]]:
    """The text of an answer and its page; raises ValueError if it is not a page."""
    text = content.decode("utf-8-sig")
    page = json.loads(text)
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        raise ValueError("not a page")
    return text, page
