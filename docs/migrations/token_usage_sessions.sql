-- token_usage_sessions: the columns that say whose key paid, in which workspace, and which kinds of cache writes.
--
-- Backward compatible: statements that name the old columns go on working, and the new ones may stay empty. A row whose
-- api_key is null does not say which key paid; one whose 5m and 1h tokens are null counts all of cache_creation_tokens as
-- 5-minute writes, and is flagged. Running it again changes nothing.
begin;

-- The table is locked for a moment only: where an old transaction is in the way, give up instead of queueing the
-- application behind it, and run this again.
set local lock_timeout = '5s';

alter table token_usage_sessions add column if not exists api_key text;
alter table token_usage_sessions add column if not exists workspace text default 'default';
alter table token_usage_sessions add column if not exists context_window text;
alter table token_usage_sessions add column if not exists cache_creation_5m_tokens bigint;
alter table token_usage_sessions add column if not exists cache_creation_1h_tokens bigint;
alter table token_usage_sessions add column if not exists web_search_count bigint;

comment on column token_usage_sessions.api_key is 'Name of the API key that paid, never the key itself; null: not known.';
comment on column token_usage_sessions.workspace is 'Workspace of the key.';
comment on column token_usage_sessions.context_window is '0-200k or 200k-1M; null: not known.';
comment on column token_usage_sessions.cache_creation_5m_tokens is 'Of cache_creation_tokens, those kept for 5 minutes.';
comment on column token_usage_sessions.cache_creation_1h_tokens is 'Of cache_creation_tokens, those kept for an hour.';
comment on column token_usage_sessions.web_search_count is 'Web searches that the provider bills.';

commit;
