-- Each name of a model with its stated seller; '' if none is stated.
select distinct model_version, provider from raw.console_usage
union
select distinct model_version, provider from raw.console_costs
union
select distinct model_version, provider from raw.usage_sessions
union
select distinct model_version, provider from raw.requests
order by model_version, provider
