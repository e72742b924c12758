"""The README's commands, as it prints them, on a home that a run has completed.

Belongs here: each command in the README does what the README states. Does not belong here: the output of commands in
detail (test_cli).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest
from commands import CHECKOUT, Completed, CompletedHomes, Done, token_analytics

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (CHECKOUT / "Makefile").read_text(encoding="utf-8")
# FILE stands for any file; here an export that a later one replaces, so that forgetting it changes no number.
FILE = "landing/console/2025-10-20/claude_api_tokens_2025_10.csv"


def blocks() -> Iterator[str]:
    """The README's indented blocks."""
    yield from re.findall(r"(?:^    .*\n)+", README, re.MULTILINE)


def commands(program: str) -> list[list[str]]:
    """Each call of `program` in a block, split as by a shell."""
    # A command continues while a quote is open.
    call = re.compile(rf'^    {program} (?:[^"\n]|"[^"]*")*', re.MULTILINE)
    return [shlex.split(text, comments=True)[1:] for block in blocks() for text in call.findall(block)]


@pytest.fixture(scope="module")
def sample(completed_homes: CompletedHomes) -> Completed:
    return completed_homes.sample()


COMMANDS = commands("token-analytics")


@pytest.fixture(scope="module")
def answers(sample: Completed) -> list[Done]:
    """The output of the README's commands, in order."""
    return [
        token_analytics(*(FILE if word == "FILE" else word for word in words), "--home", sample.home)
        for words in COMMANDS
    ]


def test_the_readme_names_targets_that_make_knows() -> None:
    named = {words[0] for words in commands("make")} | set(re.findall(r"`make (\w+)`", README))
    assert {"run", "test", "ui"} <= named
    assert [name for name in named if not re.search(rf"^{name}:", MAKEFILE, re.MULTILINE)] == []
    # The homes of these tests are the result of `make run`.
    assert re.search(r"^run:.*\n\t\$\(BIN\)/token-analytics run", MAKEFILE, re.MULTILINE)


def test_every_command_of_the_readme_works_on_the_sample(answers: list[Done]) -> None:
    assert {words[0] for words in COMMANDS} >= {"show", "status", "forget", "query"}
    assert [answer for answer in answers if answer.code or not answer.out] == []


def test_a_run_of_the_sample_prints_what_the_readme_shows(answers: list[Done]) -> None:
    (shown,) = (block for block in blocks() if "tie out" in block)
    # `forget` ends with a run.
    (printed,) = (answer.out for words, answer in zip(COMMANDS, answers, strict=True) if words[0] == "forget")
    lines = {" ".join(line.split()) for line in printed.splitlines()}
    assert [line for line in shown.splitlines() if " ".join(line.split()) not in lines] == []


def test_the_hour_that_the_readme_asks_for_holds_what_it_says(sample: Completed) -> None:
    tokens, share, usd = re.search(
        r"holds ([\d,]+) tokens, ([\d.]+)% of them cache reads, and costs \$([\d.]+)\.", README
    ).groups()
    (query,) = (words[1] for words in COMMANDS if words[0] == "query")
    hour = query[query.index("from ") : query.index("group by")]
    with duckdb.connect(str(sample.home / "token_analytics.duckdb"), read_only=True) as connection:
        found = connection.execute(
            f"select sum(total_tokens), sum(input_tokens_cache_read), sum(estimated_cost_usd)::varchar {hour}"
        ).fetchone()
    assert (f"{found[0]:,}", f"{100 * found[1] / found[0]:.2f}") == (tokens, share)
    assert found[2].rstrip("0") == usd


@pytest.mark.parametrize("path", re.findall(r"^\| `([^`]+)` \|", README, re.MULTILINE))
def test_what_the_readme_lists_as_results_lies_in_the_home(sample: Completed, path: str) -> None:
    assert list(sample.home.glob(path))


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#:]+)\)", README))))
def test_a_link_of_the_readme_leads_somewhere(target: str) -> None:
    assert Path(CHECKOUT / target).exists()
