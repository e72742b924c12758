"""The tables that the models join: names, rates and settings, rewritten in each run.

Belongs here: filling raw.rate_card and its companions. Does not belong here: prices (rates), and the models that read
the tables (dbt_project).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import duckdb

from pipeline.ingest import formats
from pipeline.reference import allocation, rates
from pipeline.settings import ConfigurationError, Settings
from pipeline.store import memo
from pipeline.store.connection import transaction
from pipeline.store.sqlfiles import sql

# Rewritten in each run, from the settings and the rate card.
TABLES = (
    "settings", "api_key_aliases", "workspace_aliases", "account_channels", "account_formats", "reconciliation_scope",
    "billing_modes", "model_names", "rate_card", "context_windows", "commitments", "allocation", "invoices",
)  # fmt: skip


def write_reference_tables(connection: duckdb.DuckDBPyConnection, settings: Settings) -> dict[str, int]:
    """Rewrite the tables in `TABLES` from settings and prices.

    Returns:
        The number of rows of each long table.

    Raises:
        ConfigurationError: a line of the overrides file is unusable, or a paying key names an unknown format.

    """
    called = connection.execute(sql("reference/model_versions")).fetchall()
    names = rates.model_names((str(name) for name, _ in called), settings.model_aliases)
    models = sorted(set(names.column("model").to_pylist()))
    sold = [(str(provider), str(name)) for name, provider in called]
    card = rates.rate_card(models, settings.overrides_file, settings.model_aliases, sold)
    windows = rates.context_windows(models)
    finance = {
        "commitments": rates.commitments(settings.overrides_file, settings.model_aliases),
        "allocation": allocation.allocation(settings.allocation_file),
        "invoices": allocation.invoices(settings.invoices_file),
    }
    aliases = sorted(settings.api_key_aliases.items())
    workspaces = sorted(settings.workspace_aliases.items())
    channels = sorted(settings.account_channels.items())
    scope_rules = _scope_rules(settings)
    modes = _billing_modes(settings)
    connection.register("names_arrow", names)
    connection.register("card_arrow", card)
    connection.register("windows_arrow", windows)
    for name, table in finance.items():
        connection.register(f"{name}_arrow", table)
    try:
        with transaction(connection):
            changed = connection.execute(
                sql("reference/reference_changed"),
                [
                    settings.user_ids,
                    settings.publish_contract_rates,
                    settings.shared_cost_rule,
                    _joined(aliases),
                    _joined(scope_rules),
                    _joined(modes),
                    _joined(workspaces),
                    _joined(channels),
                ],
            ).fetchone()
            if changed and changed[0]:
                # The marts were built with other rates, names or settings: the next build is a full one.
                connection.execute("UPDATE scope.versions SET fingerprint = '' WHERE stage = ?", [memo.MARTS])
            for table in TABLES:
                connection.execute(f"DELETE FROM raw.{table}")
            connection.execute(
                "INSERT INTO raw.settings VALUES (?, ?, ?)",
                [settings.user_ids, settings.publish_contract_rates, settings.shared_cost_rule],
            )
            for former, current in aliases:
                connection.execute("INSERT INTO raw.api_key_aliases VALUES (?, ?)", [former, current])
            for workspace, current in workspaces:
                connection.execute("INSERT INTO raw.workspace_aliases VALUES (?, ?)", [workspace, current])
            for channel in channels:
                connection.execute("INSERT INTO raw.account_channels VALUES (?, ?)", channel)
            for name, (provider, side) in formats.ACCOUNT_FORMATS.items():
                connection.execute("INSERT INTO raw.account_formats VALUES (?, ?, ?)", [name, provider, side])
            for rule in scope_rules:
                connection.execute("INSERT INTO raw.reconciliation_scope VALUES (?, ?, ?, ?, ?)", rule)
            for mode in modes:
                connection.execute("INSERT INTO raw.billing_modes VALUES (?, ?, ?)", mode)
            connection.execute(sql("reference/insert_model_names"))
            connection.execute("INSERT INTO raw.rate_card BY NAME SELECT * FROM card_arrow")
            connection.execute("INSERT INTO raw.context_windows BY NAME SELECT * FROM windows_arrow")
            for name in finance:
                connection.execute(f"INSERT INTO raw.{name} BY NAME SELECT * FROM {name}_arrow")
    finally:
        connection.unregister("names_arrow")
        connection.unregister("card_arrow")
        connection.unregister("windows_arrow")
        for name in finance:
            connection.unregister(f"{name}_arrow")
    return {"model_names": names.num_rows, "rate_card": card.num_rows, "api_key_aliases": len(aliases)}


def _scope_rules(settings: Settings) -> list[tuple[int, str, str, str, str]]:
    """Rows of raw.reconciliation_scope (paying keys): path patterns before formats, else in the order of the settings.

    Raises:
        ConfigurationError: a name is neither a format of logs nor a pattern.

    """
    rules: list[tuple[str, str, str, str]] = []
    for name, key in settings.reconciliation.scope.items():
        is_path = any(character in name for character in "/*?[.")
        if not is_path and name not in formats.LOG_FORMATS:
            raise ConfigurationError(
                f"reconciliation.scope: {name!r} is neither a format of logs ({', '.join(formats.LOG_FORMATS)}) nor a "
                "pattern of paths such as 'records/*'"
            )
        target = (settings.api_key_aliases.get(key.api_key, key.api_key), key.workspace)
        rules.append(("", str(Path(name).expanduser()), *target) if is_path else (name, "", *target))
    rules.sort(key=lambda rule: rule[0] != "")
    return [(number, *rule) for number, rule in enumerate(rules, 1)]


def _billing_modes(settings: Settings) -> list[tuple[str, str, str]]:
    """Rows of raw.billing_modes."""
    modes = settings.billing_mode
    keys = [(settings.api_key_aliases.get(name, name), "", mode) for name, mode in modes.api_keys.items()]
    return sorted([*keys, *(("", name, mode) for name, mode in modes.projects.items())])


def _joined(rows: Sequence[tuple[object, ...]]) -> list[str]:
    """Rows as text, sorted, to compare with a table's."""
    return sorted("\x1f".join(str(value) for value in row) for row in rows)
