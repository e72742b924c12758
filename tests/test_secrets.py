"""A secret in place of a name is stored as a fingerprint, whatever the format, the field and the provider of the key.

Belongs here: shapes of secrets, planted in the text fields of each format. Does not belong here: text that is never
read (the canary of test_hostile), and messages of servers (test_pull, test_stream, test_postgres).
"""

from __future__ import annotations

import json

import logs
import pytest
from conftest import Home
from rows import SESSION_COLUMNS, cost_csv, cost_row, session_row, transcript_line, usage_csv, usage_row

from pipeline.store import redaction

MARK = "SECRETcanary42"
SECRETS = (
    f"sk-ant-api03-{MARK}", f"sk-proj-{MARK}", f"AIzaSy{MARK}XX", f"xai-{MARK}", f"gsk_{MARK}", f"ghp_{MARK}",
    f"github_pat_{MARK}", f"AKIA{MARK}".upper(), f"ASIA{MARK}".upper(), f"hf_{MARK}", f"xoxb-123-{MARK}",
    f"sk_live_{MARK}", f"eyJhbGciOi.{MARK}.sig", f"Bearer {MARK}", f"glpat-{MARK}", f"team/sk-{MARK}",
)  # fmt: skip
NO_SECRETS = (
    "claude-sonnet-4-5-20250929", "task-force-alpha", "asia-northeast1", "asianmarketsresearch1", "hf_team",
    "risk-adjusted", "bearer", "0192f7a2-7d3e-7000-8a4b-9d3c1f2e5b6a", "msg_01XFDUDYJgAACzvnptvVoYEL",
    "us.anthropic.claude-3-5-sonnet-20241022-v2:0", "grok-4-fast-reasoning", "production-key-3",
)  # fmt: skip


@pytest.mark.parametrize("secret", SECRETS)
def test_a_shape_of_a_secret_is_known(secret: str) -> None:
    assert MARK.lower() not in redaction.without_secrets(f"landing/{secret}.csv").lower()


@pytest.mark.parametrize("name", NO_SECRETS)
def test_a_name_is_no_secret(name: str) -> None:
    assert redaction.without_secrets(name) == name


def test_no_text_field_of_any_format_keeps_a_secret(home: Home) -> None:
    for number, secret in enumerate(SECRETS):
        line = json.loads(transcript_line("m1"))
        line |= {"cwd": f"/srv/{secret}", "sessionId": secret, "uuid": secret, "requestId": secret}
        line["message"] |= {"id": secret, "model": secret}
        line["message"]["usage"] |= {"service_tier": secret, "inference_geo": secret, "speed": secret}
        session = dict(zip(SESSION_COLUMNS.split(","), session_row().split(","), strict=True))
        texts = (
            "session_id",
            "user_id",
            "api_key",
            "workspace",
            "project",
            "tags",
            "conversation_id",
            "model",
            "provider",
        )
        event = logs.event(400) | dict.fromkeys(
            ("model", "provider", "project", "user_id", "session_id", "api_key"), secret
        )
        spend = logs.spend(100) | dict.fromkeys(
            ("model", "user", "api_key", "session_id", "team_id", "end_user"), secret
        )
        home.land(
            {
                f"{number}/usage.csv": usage_csv(usage_row(key=secret), usage_row(date=secret)),
                f"{number}/cost.csv": cost_csv(cost_row().replace("alpha", secret)),
                f"{number}/sessions.jsonl": json.dumps(session | dict.fromkeys(texts, secret)),
                f"{number}/t.jsonl": json.dumps(line),
                f"{number}/tracker": logs.lines(event | {"event_id": secret}),
                f"{number}/litellm": logs.lines(spend | {"request_id": secret}),
                f"{number}/langfuse": logs.lines(
                    logs.observation(300, model=secret) | {"traceId": secret, "id": secret}
                ),
                f"{number}/{secret.replace('/', '-')}.csv": usage_csv(usage_row(key=str(number))),
            }
        )
    assert home.ingest().files_loaded > 100
    assert home.query("SELECT count(*) > 20 FROM raw.requests WHERE starts_with(model_version, 'key-')") == [(True,)]
    for table, rows in home.tables("raw", "ingest").items():
        assert [value for row in rows for value in row if MARK.lower() in str(value).lower()] == [], table
