-- Key figures of the pricing page, in one row; null where unknown.
with cheapest as (
    select
        mechanism,
        round(premium, 2) as premium
    from analysis.pricing_recommendation
    where customer_dimension = 'organisation'
        and target = 'variance_reduction'
        and loading_principle = 'expected_value'
        and rank = 1
),

savings as (
    select
        count(*) as kinds,
        max(combined_usd_per_month) as usd_per_month
    from analysis.recommendations
    where saving_usd_per_month > 0
)

select
    (select mechanism from cheapest) as cheapest_contract,
    (select premium from cheapest) as cheapest_contract_premium_usd,
    (select count(*) from analysis.pricing_quotes where quote is not null) as quotes,
    (select kinds from savings) as savings_found,
    (select round(usd_per_month, 2)::double from savings) as savings_usd_per_month
