-- Join condition of marts.charges and a rate card; the macro at_rate of dbt_project is the same for usage.
${usage}.model = ${card}.model
and ${usage}.provider = ${card}.provider
and ${usage}.context_window = ${card}.context_window
and ${usage}.usage_type = ${card}.usage_type
and ${usage}.inference_geo = ${card}.inference_geo
and ${usage}.speed = ${card}.speed
and ${usage}.token_kind = ${card}.token_kind
and ${usage}.usage_date >= ${card}.valid_from
and (${card}.valid_to is null or ${usage}.usage_date < ${card}.valid_to)
