-- The parent of a span is the next one above it that tells of usage, or that stands in another file.
update call_records
set parent_span = coalesce((
    with recursive spans as (
        select
            span,
            any_value(parent_span) as parent_span,
            bool_or(kind = 'usage') as is_usage
        from call_records
        where span <> ''
        group by span
    ),

    above as (
        select
            span as child,
            parent_span as ancestor
        from spans
        where is_usage and parent_span <> ''
        union
        select
            above.child,
            spans.parent_span as ancestor
        from above
        inner join spans on above.ancestor = spans.span and not spans.is_usage
        where spans.parent_span <> ''
    ),

    nearest as (
        select
            above.child,
            max(above.ancestor) as ancestor
        from above
        left join spans on above.ancestor = spans.span
        where coalesce(spans.is_usage, true)
        group by above.child
    )

    select ancestor
    from nearest
    where child = call_records.span
), '')
where kind = 'usage'
