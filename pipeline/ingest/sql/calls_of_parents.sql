-- A span whose usage is the sum of that of the nearest spans below it tells of the same calls once more: it is ignored.
update call_records
set kind = 'ignored', reason = null
where span in (
    with recursive spans as (
        select
            span,
            any_value(parent_span) as parent_span,
            bool_or(kind = 'usage') as is_usage,
            max(input_count + if(is_inclusive, 0, cached_tokens)) as input_tokens,
            max(output_count) as output_tokens
        from call_records
        where span is not null
        group by span
    ),

    above as (
        select
            span as child,
            parent_span as ancestor
        from spans
        where is_usage and parent_span is not null
        union
        select
            above.child,
            spans.parent_span as ancestor
        from above
        inner join spans on above.ancestor = spans.span and not spans.is_usage
        where spans.parent_span is not null
    )

    select parents.span
    from above
    inner join spans as parents on above.ancestor = parents.span and parents.is_usage
    inner join spans as children on above.child = children.span
    group by parents.span, parents.input_tokens, parents.output_tokens
    having
        sum(children.input_tokens) = parents.input_tokens
        and sum(children.output_tokens) = parents.output_tokens
        and parents.input_tokens + parents.output_tokens > 0
)
