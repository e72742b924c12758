-- Metered usage by its smallest known interval, and whether a row is in force: of those that count each token once. These
-- are the provider's own account of a day where there is one, else our logs; one provider's account says nothing of another's.
-- (marts.charges says the same of itself.)
select
    usage.*,
    usage.source = 'console' or listed.usage_date is null as is_in_force
from marts.token_usage_minutes as usage
left join (
    select distinct provider, usage_date
    from marts.token_usage_minutes
    where source = 'console' and billing_mode is distinct from 'subscription'
) as listed
    on usage.provider = listed.provider and usage.usage_date = listed.usage_date
where usage.billing_mode is distinct from 'subscription'
