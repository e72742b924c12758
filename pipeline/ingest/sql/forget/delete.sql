delete from raw.console_usage where ${condition_usage};
delete from raw.console_costs where ${condition_costs};
delete from raw.requests where ${condition_requests};
delete from raw.usage_sessions where ${condition_sessions};
