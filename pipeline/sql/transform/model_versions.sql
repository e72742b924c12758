select model_version from raw.console_usage
union
select model_version from raw.console_costs
union
select model_version from raw.usage_sessions
union
select model_version from raw.requests
order by model_version
