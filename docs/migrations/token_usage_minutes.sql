-- token_usage_minutes: marts.token_usage_minutes as a table of PostgreSQL, for who wants the usage beside the application's
-- own tables. Its grain is the first 14 columns; times are UTC. Running it again adds what later
-- versions have added, and touches no row.
begin;

create table if not exists token_usage_minutes (
    source text not null check (source in ('console', 'sessions')),
    provider text not null,
    usage_minute timestamp not null,
    bucket_seconds integer not null check (bucket_seconds in (60, 3600, 86400)),
    model text not null,
    model_version text not null,
    api_key text not null,
    workspace text not null,
    user_id text not null,
    project text not null,
    usage_type text not null,
    context_window text not null,
    inference_geo text not null,
    speed text not null,
    usage_date date not null check (usage_date = usage_minute::date),
    input_tokens_no_cache bigint not null check (input_tokens_no_cache >= 0),
    input_tokens_cache_write_5m bigint not null check (input_tokens_cache_write_5m >= 0),
    input_tokens_cache_write_1h bigint not null check (input_tokens_cache_write_1h >= 0),
    input_tokens_cache_read bigint not null check (input_tokens_cache_read >= 0),
    output_tokens bigint not null check (output_tokens >= 0),
    input_audio_tokens bigint not null default 0 check (input_audio_tokens >= 0),
    input_image_tokens bigint not null default 0 check (input_image_tokens >= 0),
    cache_read_audio_tokens bigint not null default 0 check (cache_read_audio_tokens >= 0),
    cache_read_image_tokens bigint not null default 0 check (cache_read_image_tokens >= 0),
    output_audio_tokens bigint not null default 0 check (output_audio_tokens >= 0),
    output_image_tokens bigint not null default 0 check (output_image_tokens >= 0),
    web_search_count bigint not null check (web_search_count >= 0),
    total_tokens bigint not null,
    request_count bigint,
    estimated_cost_usd numeric(38, 12),
    cache_split_assumed boolean not null,
    spans_midnight boolean not null,
    billing_mode text not null,
    is_in_force boolean not null default true,
    primary key (
        source, provider, usage_minute, bucket_seconds, model, model_version, api_key, workspace, user_id, project,
        usage_type, context_window, inference_geo, speed
    ),
    check (
        total_tokens = input_tokens_no_cache + input_tokens_cache_write_5m + input_tokens_cache_write_1h
        + input_tokens_cache_read + output_tokens
    )
);

-- A table of an earlier version lacks these.
alter table token_usage_minutes add column if not exists input_audio_tokens bigint not null default 0 check (input_audio_tokens >= 0);
alter table token_usage_minutes add column if not exists input_image_tokens bigint not null default 0 check (input_image_tokens >= 0);
alter table token_usage_minutes add column if not exists cache_read_audio_tokens bigint not null default 0 check (cache_read_audio_tokens >= 0);
alter table token_usage_minutes add column if not exists cache_read_image_tokens bigint not null default 0 check (cache_read_image_tokens >= 0);
alter table token_usage_minutes add column if not exists output_audio_tokens bigint not null default 0 check (output_audio_tokens >= 0);
alter table token_usage_minutes add column if not exists output_image_tokens bigint not null default 0 check (output_image_tokens >= 0);
alter table token_usage_minutes add column if not exists is_in_force boolean not null default true;

create index if not exists token_usage_minutes_usage_date on token_usage_minutes (usage_date);

comment on table token_usage_minutes is 'All usage by its smallest known interval, as token-analytics publishes it.';
comment on column token_usage_minutes.source is 'console: the provider''s account; sessions: our logs. Never add the two.';
comment on column token_usage_minutes.usage_minute is 'Start of the interval, UTC; its length is bucket_seconds.';
comment on column token_usage_minutes.input_audio_tokens is 'Part of input_tokens_no_cache, as image tokens are; the others of their kinds.';
comment on column token_usage_minutes.is_in_force is 'Whether the row counts where each token counts once.';
comment on column token_usage_minutes.request_count is 'Null where the source has none.';
comment on column token_usage_minutes.estimated_cost_usd is 'At the rate card; null where unpriced.';

commit;
