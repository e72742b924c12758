-- The observations of the chosen segments; `segment` is the place of each in the list of segments.
select
    observations.* exclude (key),
    segments.segment
from observations
inner join (
    select
        unnest(range(len($keys))) as segment,
        unnest($segment_dimensions) as dimension,
        unnest($keys) as key
) as segments using (dimension, key)
