-- Raw storage and the ledger. Every raw row has the sha256 of its file.
create schema if not exists ingest;
create schema if not exists raw;
create schema if not exists analysis;

create table if not exists ingest.files (
    file_sha256 varchar primary key,
    path varchar not null,
    format varchar not null,
    grain varchar not null,
    bytes bigint not null,
    first_usage_date date,
    last_usage_date date,
    rows_read bigint not null,
    rows_loaded bigint not null,
    rows_rejected bigint not null,
    rows_ignored bigint not null,
    rows_repeated bigint not null,
    loaded_at timestamp not null,
    status varchar not null,
    message varchar not null,
    check (status in ('loaded', 'unrecognised', 'failed', 'forgotten')),
    check (rows_read = rows_loaded + rows_rejected + rows_ignored + rows_repeated)
);

create table if not exists ingest.rejected_rows (
    file_sha256 varchar not null,
    path varchar not null,
    line bigint not null,
    byte_offset bigint not null,
    reason varchar not null,
    column_name varchar not null,
    value varchar not null
);

create table if not exists ingest.run_stages (
    run_id varchar not null,
    stage varchar not null,
    seconds double not null,
    cpu_seconds double not null,
    peak_mb double not null,
    rows bigint not null
);

-- The last path of each content: a run skips an unchanged file without reading it.
create table if not exists ingest.paths (
    path varchar primary key,
    file_sha256 varchar not null,
    bytes bigint not null,
    modified_ns bigint not null,
    changed_ns bigint not null
);

create table if not exists raw.console_usage (
    file_sha256 varchar not null,
    usage_start timestamp not null,
    bucket_seconds integer not null,
    model_version varchar not null,
    api_key varchar not null,
    workspace varchar not null,
    usage_type varchar not null,
    context_window varchar not null,
    inference_geo varchar not null,
    speed varchar not null,
    states_context_window boolean not null,
    states_geo_speed boolean not null,
    input_tokens_no_cache bigint not null,
    input_tokens_cache_write_5m bigint not null,
    input_tokens_cache_write_1h bigint not null,
    input_tokens_cache_read bigint not null,
    output_tokens bigint not null,
    web_search_count bigint not null,
    cache_split_assumed boolean not null
);

-- The account's provider, the channel (csv or api), and the dimensions that the file states, sorted and joined by
-- commas. (Missing in homes of earlier versions; there, the two columns above show what an export states.)
alter table raw.console_usage add column if not exists provider varchar default 'anthropic';
alter table raw.console_usage add column if not exists channel varchar default 'csv';
alter table raw.console_usage add column if not exists user_id varchar default '';
alter table raw.console_usage add column if not exists request_count bigint;
alter table raw.console_usage add column if not exists stated varchar;
-- Audio and image tokens as parts of the kinds above (input without cache, cache reads, output); they have their own
-- rates.
alter table raw.console_usage add column if not exists input_audio_tokens bigint default 0;
alter table raw.console_usage add column if not exists input_image_tokens bigint default 0;
alter table raw.console_usage add column if not exists cache_read_audio_tokens bigint default 0;
alter table raw.console_usage add column if not exists cache_read_image_tokens bigint default 0;
alter table raw.console_usage add column if not exists output_audio_tokens bigint default 0;
alter table raw.console_usage add column if not exists output_image_tokens bigint default 0;

create table if not exists raw.console_costs (
    file_sha256 varchar not null,
    usage_date date not null,
    model_version varchar not null,
    api_key varchar not null,
    workspace varchar not null,
    usage_type varchar not null,
    context_window varchar not null,
    inference_geo varchar not null,
    speed varchar not null,
    cost_type varchar not null,
    token_type varchar not null,
    states_api_key boolean not null,
    states_workspace boolean not null,
    cost_usd decimal(38, 12) not null,
    list_price_usd decimal(38, 12)
);

-- states_kind: whether amounts are split by model and kind.
alter table raw.console_costs add column if not exists provider varchar default 'anthropic';
alter table raw.console_costs add column if not exists channel varchar default 'csv';
alter table raw.console_costs add column if not exists states_kind boolean default true;
alter table raw.console_costs add column if not exists user_id varchar default '';
alter table raw.console_costs add column if not exists states_user_id boolean default false;

create table if not exists raw.usage_sessions (
    file_sha256 varchar not null,
    session_id varchar not null,
    conversation_id varchar not null,
    user_id varchar not null,
    provider varchar not null,
    api_key varchar not null,
    workspace varchar not null,
    project varchar not null,
    tags varchar not null,
    context_window varchar not null,
    session_started_at timestamp not null,
    last_updated_at timestamp not null,
    model_version varchar not null,
    input_tokens_no_cache bigint not null,
    input_tokens_cache_write_5m bigint not null,
    input_tokens_cache_write_1h bigint not null,
    input_tokens_cache_read bigint not null,
    output_tokens bigint not null,
    web_search_count bigint not null,
    request_count bigint,
    cache_split_assumed boolean not null
);

-- Ids are random: compressing them takes a third of the time of storing a row and saves little. (No word for sqlfluff.)
create table if not exists raw.requests ( -- noqa: PRS
    file_sha256 varchar not null,
    source_format varchar not null,
    request_key varchar using compression uncompressed not null,
    response_id varchar using compression uncompressed not null,
    session_id varchar not null,
    is_sidechain boolean not null,
    requested_at timestamp not null,
    kept_at timestamp not null,
    kept_id varchar using compression uncompressed not null,
    provider varchar not null,
    model_version varchar not null,
    project varchar not null,
    usage_type varchar not null,
    inference_geo varchar not null,
    speed varchar not null,
    input_tokens_no_cache bigint not null,
    input_tokens_cache_write_5m bigint not null,
    input_tokens_cache_write_1h bigint not null,
    input_tokens_cache_read bigint not null,
    output_tokens bigint not null,
    web_search_count bigint not null,
    cache_split_assumed boolean not null
);
-- The account that paid for the call, as stated by the record, else ''. (Missing in homes of earlier versions.)
alter table raw.requests add column if not exists api_key varchar default '';
alter table raw.requests add column if not exists workspace varchar default '';
-- The kind of logger (tracker, transcript, gateway or span), and whether response_id is the provider's id.
alter table raw.requests add column if not exists user_id varchar default '';
alter table raw.requests add column if not exists logger varchar default 'transcript';
alter table raw.requests add column if not exists states_response_id boolean default false;
-- The application's own cost estimate; no mart uses it, because only the rate card prices usage.
alter table raw.requests add column if not exists logged_cost_usd decimal(38, 12);
-- The same parts of the kinds as in raw.console_usage, and the sum of all tokens if the record states it.
alter table raw.requests add column if not exists input_audio_tokens bigint default 0;
alter table raw.requests add column if not exists input_image_tokens bigint default 0;
alter table raw.requests add column if not exists cache_read_audio_tokens bigint default 0;
alter table raw.requests add column if not exists cache_read_image_tokens bigint default 0;
alter table raw.requests add column if not exists output_audio_tokens bigint default 0;
alter table raw.requests add column if not exists output_image_tokens bigint default 0;
alter table raw.requests add column if not exists stated_total_tokens bigint;
-- The fields that a copy of the call in another session keeps ('' if the format has no copies), whether this record is
-- a copy (null if it may be), and of which session ('' if it can be any).
alter table raw.requests add column if not exists copy_key varchar default '';
alter table raw.requests add column if not exists is_copied boolean default false;
alter table raw.requests add column if not exists copied_from varchar default '';
-- The session of the file, if the record may belong to another session.
alter table raw.requests add column if not exists held_in varchar default '';
-- The record's span and its parent span, as trace and id; '' if the format has none.
alter table raw.requests add column if not exists span varchar default '';
alter table raw.requests add column if not exists parent_span varchar default '';
-- Spans without usage and their parents: links between spans with usage.
create table if not exists raw.span_links (file_sha256 varchar not null, span varchar not null, parent_span varchar not null);
-- Start of the file's session, if the file states it.
alter table raw.requests add column if not exists session_started_at timestamp;
-- The message id of a transcript line without a request id, which may be a gateway's constant id; response_id is then
-- that id with the input tokens.
alter table raw.requests add column if not exists message_id varchar default '';
-- For such a message: its lane ('' for the main line, else the sidechain's agent), and whether it is a new response
-- although its input equals that of the one before.
alter table raw.requests add column if not exists lane varchar default '';
alter table raw.requests add column if not exists begins_anew boolean default false;

-- Settings and rates for dbt; rewritten by each run.
create table if not exists raw.settings (user_ids varchar not null, publish_contract_rates boolean not null);
create table if not exists raw.api_key_aliases (api_key varchar not null, current_api_key varchar not null);
create table if not exists raw.workspace_aliases (workspace varchar not null, current_workspace varchar not null);
-- The channel of a provider's account that counts if both cover a day; csv for other providers.
create table if not exists raw.account_channels (provider varchar not null, channel varchar not null);

-- The formats of providers' accounts: the provider, and the side of the reconciliation (console, billed).
create table if not exists raw.account_formats (format varchar not null, provider varchar not null, side varchar not null);
-- The billed key that pays for logs without a key: the first rule that matches a file by format or path.
create table if not exists raw.reconciliation_scope (
    rule integer not null,
    source_format varchar not null,
    path_pattern varchar not null,
    api_key varchar not null,
    workspace varchar not null
);
-- Keys or projects that are metered or covered by a subscription; the other column is ''.
create table if not exists raw.billing_modes (
    api_key varchar not null, project varchar not null, billing_mode varchar not null
);
create table if not exists raw.model_names (
    model_version varchar not null, model varchar not null, provider varchar not null, is_known boolean not null
);
-- The region in a Bedrock model name; '' for all other names.
alter table raw.model_names add column if not exists region varchar default '';
create table if not exists raw.rate_card (
    provider varchar not null,
    model varchar not null,
    token_kind varchar not null,
    context_window varchar not null,
    usage_type varchar not null,
    inference_geo varchar not null,
    speed varchar not null,
    valid_from date not null,
    valid_to date,
    usd_per_mtok decimal(18, 6) not null,
    origin varchar not null,
    is_override boolean not null
);
-- The list price of the same tier and days, and the source of the rate. (Missing in homes of earlier versions.)
alter table raw.rate_card add column if not exists list_usd_per_mtok decimal(18, 6);
alter table raw.rate_card add column if not exists price_list varchar default '';
alter table raw.rate_card add column if not exists override_line bigint;
-- Committed spend in the overrides file; null in a selecting column matches all.
create table if not exists raw.commitments (
    override_line bigint not null,
    provider varchar,
    model varchar,
    token_kind varchar,
    context_window varchar,
    usage_type varchar,
    inference_geo varchar,
    speed varchar,
    valid_from date not null,
    valid_to date,
    committed_usd_per_month decimal(38, 12) not null
);
-- The context windows of a model: the price of a single request depends on its input tokens.
create table if not exists raw.context_windows (
    model varchar not null, context_window varchar not null, above_tokens bigint not null, up_to_tokens bigint
);
alter table raw.settings add column if not exists shared_cost_rule varchar default 'by_direct_cost';
-- The user's own files in the home; null in a selecting column matches all.
create table if not exists raw.allocation (
    line bigint not null,
    api_key varchar,
    workspace varchar,
    user_id varchar,
    project varchar,
    valid_from date not null,
    team varchar not null,
    cost_centre varchar not null,
    product varchar not null,
    environment varchar not null,
    budget_usd_per_month decimal(38, 12)
);
create table if not exists raw.invoices (
    line bigint not null,
    period_start date not null,
    period_end date not null,
    amount decimal(38, 12) not null,
    credits decimal(38, 12) not null,
    tax decimal(38, 12) not null,
    currency varchar not null
);
-- Closed months as booked: written once by `close`, and never again.
create table if not exists raw.closed_months (month date primary key, closed_at timestamp not null);
create table if not exists raw.booked_costs (
    month date not null,
    side varchar not null,
    provider varchar not null,
    model varchar not null,
    api_key varchar not null,
    workspace varchar not null,
    token_kind varchar not null,
    tokens bigint,
    unpriced_tokens bigint,
    cost_usd decimal(38, 12) not null,
    rates varchar[] not null
);
create table if not exists raw.booked_chargeback (
    month date not null,
    team varchar not null,
    cost_centre varchar not null,
    product varchar not null,
    environment varchar not null,
    direct_usd decimal(38, 12) not null,
    shared_usd decimal(38, 12) not null,
    unallocated_usd decimal(38, 12) not null,
    estimated_usd decimal(38, 12) not null,
    budget_usd decimal(38, 12),
    shared_rule varchar not null
);
-- Differences from a closed month, and when they were found: each row changes its cell from one state to the next.
create table if not exists raw.restatements (
    noticed_at timestamp not null,
    month date not null,
    side varchar not null,
    provider varchar not null,
    model varchar not null,
    api_key varchar not null,
    workspace varchar not null,
    token_kind varchar not null,
    team varchar not null,
    cost_centre varchar not null,
    product varchar not null,
    environment varchar not null,
    old_tokens bigint,
    new_tokens bigint,
    old_unpriced_tokens bigint,
    new_unpriced_tokens bigint,
    old_usd decimal(38, 12) not null,
    new_usd decimal(38, 12) not null,
    cause varchar not null,
    rates varchar[] not null
);
-- The key of the pseudonyms is created once and stays private: without it, pseudonyms cannot be reversed by guessing.
create table if not exists raw.pseudonym_key (pseudonym_key varchar not null);
insert into raw.pseudonym_key
select md5(uuid()::varchar || random()::varchar) || md5(uuid()::varchar)
where not exists (select 1 from raw.pseudonym_key);

-- Pending files, and the scope of the current build: see docs/how-it-works.md.
create schema if not exists scope;
create table if not exists scope.pending_files (file_sha256 varchar primary key);
create table if not exists scope.days (item date primary key);
create table if not exists scope.hours (item timestamp primary key);
create table if not exists scope.responses (item varchar primary key);
create table if not exists scope.sessions (item varchar primary key);
-- Days of marts.usage_reconciliation that a build replaces, and the facts with which other days were built.
create table if not exists scope.reconciliation_days (item date primary key);
create table if not exists scope.reconciliation_built (item date primary key, facts ubigint not null);
-- The current step of a stepwise table (dbt_project/macros/stepwise.sql).
create table if not exists scope.step (item bigint not null);
-- The state of the marts that each later stage has used; stage 'marts' counts the builds.
create table if not exists scope.versions (
    stage varchar primary key, version bigint not null, fingerprint varchar not null, outcome varchar not null
);
-- Missing in homes of earlier versions.
alter table scope.versions add column if not exists outcome varchar default '';
-- Stored results of a stage by a hash of all inputs, for example a column of statistics.
create table if not exists scope.results (stage varchar not null, item varchar not null, result varchar not null);
-- Usage before this day is never stored (`forget --before`).
create table if not exists raw.retention (before_date date not null);
-- The end of each export: of two exports of the same interval, the one that reaches further is in force.
create table if not exists raw.exports (file_sha256 varchar primary key, reaches_to timestamp not null);
-- Coverage of API pages by their buckets. A pull has all usage of its buckets as of its time: it supersedes earlier
-- pulls of the same buckets and dimensions, even if it has no row.
alter table raw.exports add column if not exists provider varchar;
alter table raw.exports add column if not exists side varchar;
alter table raw.exports add column if not exists is_pull boolean default false;
alter table raw.exports add column if not exists covers_from timestamp;
alter table raw.exports add column if not exists covers_to timestamp;
alter table raw.exports add column if not exists bucket_seconds integer;
alter table raw.exports add column if not exists stated varchar;
