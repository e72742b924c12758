"""Files from elsewhere: providers' APIs, PostgreSQL and the event stream become files in landing.

1. `providers` asks the usage and cost APIs of Anthropic and OpenAI, page by page.
2. `postgres` takes new rows of the application's `token_usage_sessions`.
3. `stream` drains the tracker's Redis stream.
All three write through `landing`: whole files, in a folder that one process at a time fills.

Does not belong here: what the files mean (ingest). Limit: bills and usage of Anthropic and OpenAI only.
"""
