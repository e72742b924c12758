-- Questions of the settings (what if), and usage that could not be assessed.
select
    case kind
        when 'what_if' then 'what if: ' || subject
        when 'unavailable' then 'not assessed'
        else replace(kind, '_', ' ')
    end as what,
    what_if_usd_per_month,
    evidence
from analysis.recommendations
where rank is null
order by kind <> 'what_if', subject
