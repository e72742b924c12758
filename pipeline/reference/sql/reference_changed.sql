-- Whether the reference tables have changed for usage that is already built. Rows for new models do not count.
with known_models as (
    select distinct model from raw.model_names
),

new_names as (
    select name as model_version, model, provider, region from names_arrow
)

select
    exists (from raw.settings where user_ids <> $$1 or publish_contract_rates <> $$2 or shared_cost_rule <> $$3)
    or exists (
        from raw.model_names as old
        inner join new_names as new using (model_version)
        where old.model <> new.model or old.provider <> new.provider or old.region is distinct from new.region
    )
    or exists (
        (from raw.rate_card where model in (from known_models))
        except
        (select * from card_arrow where model in (from known_models))
    )
    or exists (
        (select * from card_arrow where model in (from known_models))
        except
        (from raw.rate_card where model in (from known_models))
    )
    or exists (
        (from raw.context_windows where model in (from known_models))
        except
        (select * from windows_arrow where model in (from known_models))
    )
    or list_sort((select coalesce(list(api_key || chr(31) || current_api_key), []) from raw.api_key_aliases)) <> $$4::varchar[]
    or list_sort((
        select coalesce(list(concat_ws(chr(31), rule, source_format, path_pattern, api_key, workspace)), [])
        from raw.reconciliation_scope
    )) <> $$5::varchar[]
    or list_sort((select coalesce(list(concat_ws(chr(31), api_key, project, billing_mode)), []) from raw.billing_modes))
    <> $$6::varchar[]
    or list_sort((
        select coalesce(list(workspace || chr(31) || current_workspace), []) from raw.workspace_aliases
    )) <> $$7::varchar[]
    or list_sort((select coalesce(list(provider || chr(31) || channel), []) from raw.account_channels)) <> $$8::varchar[]
    or exists (
        (from raw.commitments)
        except all
        (select * from commitments_arrow)
    )
    or exists (
        (select * from commitments_arrow)
        except all
        (from raw.commitments)
    )
    or exists (
        (from raw.allocation)
        except all
        (select * from allocation_arrow)
    )
    or exists (
        (select * from allocation_arrow)
        except all
        (from raw.allocation)
    )
    or exists (
        (from raw.invoices)
        except all
        (select * from invoices_arrow)
    )
    or exists (
        (select * from invoices_arrow)
        except all
        (from raw.invoices)
    )
