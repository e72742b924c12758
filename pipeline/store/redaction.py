"""Recognises secrets in text, and replaces them before a text is stored or shown.

Belongs here: the patterns of keys and tokens, for Python and, by macro without_secret, for SQL. Does not belong here:
which texts are kept (pipeline/ingest/sql). People paste keys into name fields and file names.
"""

from __future__ import annotations

import hashlib
import re

# In syntax that Python and DuckDB share, case-insensitive: some fields are stored in lower case. Each begins at the
# start of a word, or after a punctuation character.
_SHAPES = (
    r"sk-[A-Za-z0-9_.-]{6,}",  # Anthropic, OpenAI, LiteLLM, OpenRouter, DeepSeek, Langfuse
    r"pk-lf-[A-Za-z0-9-]{6,}",
    r"(sk|rk|pk)_(live|test)_[A-Za-z0-9]{6,}|whsec_[A-Za-z0-9]{10,}",  # Stripe
    r"AIza[A-Za-z0-9_-]{10,}|ya29\.[A-Za-z0-9_-]{10,}|GOCSPX-[A-Za-z0-9_-]{10,}",  # Google
    r"(xai|gsk|pplx|nvapi|glpat|hf|r8|npm|csk|fw|tgp_v1|dop_v1)[_-][A-Za-z0-9_-]{0,12}[A-Za-z0-9]{12,}",
    r"gh[opsur]_[A-Za-z0-9]{10,}|github_pat_[A-Za-z0-9_]{10,}",
    r"AKIA[A-Z0-9]{12,}|(?-i:ASIA)[A-Z0-9]{12,}",  # AWS
    r"(?-i:ABSK)[A-Za-z0-9+/=]{24,}|bedrock-api-key-[A-Za-z0-9+/=]{10,}",  # Bedrock
    r"(?-i:AQ\.)[A-Za-z0-9_-]{30,}|pa-[A-Za-z0-9_-]{40,}|dapi[a-f0-9]{32}",  # Google, Voyage, Databricks
    r"(lsv2_(pt|sk)|jina|wandb_v1|sbp)_[A-Za-z0-9]{16,}|(tvly|pypi)-[A-Za-z0-9_-]{16,}",
    r"(xox[a-z]|xapp)-[A-Za-z0-9-]{6,}",  # Slack
    r"eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}",  # a signed token (JWT)
    r"bearer +[A-Za-z0-9._~+/=-]{8,}",
    r"-----BEGIN [A-Z ]*PRIVATE KEY",
)
SECRET = "(?i)(^|[^A-Za-z0-9])(" + "|".join(_SHAPES) + ")"
_SECRET = re.compile(SECRET)


def without_secrets(text: str) -> str:
    """`text` with a fingerprint in place of each part that looks like a secret."""
    return _SECRET.sub(lambda match: match.group(1) + _fingerprint(match.group(2)), text)


def _fingerprint(secret: str) -> str:
    return f"key-{hashlib.sha256(secret.encode('utf-8', 'surrogateescape')).hexdigest()[:12]}"
