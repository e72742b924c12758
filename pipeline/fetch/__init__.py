"""Fetches data from providers' APIs, PostgreSQL and the event stream into files in landing.

1. `providers` calls the usage and cost APIs of Anthropic and OpenAI, page by page.
2. `postgres` reads new rows of the application's `token_usage_sessions`.
3. `stream` drains the tracker's Redis stream.
All three write through `landing`: complete files, in a folder that one process fills at a time.

Does not belong here: reading the files (ingest). Limit: bills and usage of Anthropic and OpenAI only.
"""
