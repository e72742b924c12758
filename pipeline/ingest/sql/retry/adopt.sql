-- Rows of a file that was loaded again get its name. One statement a table.
update raw.console_usage set file_sha256 = ${sha256} where file_sha256 = ${key};
update raw.console_costs set file_sha256 = ${sha256} where file_sha256 = ${key};
update raw.usage_sessions set file_sha256 = ${sha256} where file_sha256 = ${key};
update raw.requests set file_sha256 = ${sha256} where file_sha256 = ${key};
update raw.span_links set file_sha256 = ${sha256} where file_sha256 = ${key};
update raw.exports set file_sha256 = ${sha256} where file_sha256 = ${key};
