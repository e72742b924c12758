-- Questions of the settings (what if), and usage that could not be assessed.
select
    case kind
        when 'what_if' then 'what if'
        when 'unavailable' then 'not assessed'
        else replace(kind, '_', ' ')
    end as what,
    subject,
    what_if_usd_per_month,
    evidence,
    kind = 'unavailable' and provider is null as is_of_all
from analysis.recommendations
where rank is null
order by kind <> 'what_if', is_of_all, subject
