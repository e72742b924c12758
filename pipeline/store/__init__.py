"""Files and their protection: the warehouse, publishing, SQL files, and files bundled in a wheel.

`warehouse` opens the private database, under a lock, and publishes; `sqlfiles` reads the SQL of the stages; `bundled`
finds files that a wheel or checkout has beside the code; `redaction` recognises secrets; `computed` replaces a table
that could not be computed; `progress` reports the progress of a run and measures its stages; `memo` keeps the results
of stages; `processes` shares work between cores.

Does not belong here: the meaning of any table.
"""
