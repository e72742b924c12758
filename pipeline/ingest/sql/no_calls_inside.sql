holding as (
    select
        *,
        []::json[] as calls_within
    from prepared
)
