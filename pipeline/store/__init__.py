"""Files and what protects them: the warehouse, publishing, SQL files, and what a wheel carries.

`warehouse` opens the writer's file, under a lock, and publishes; `sqlfiles` reads the SQL of the stages; `bundled`
finds what a wheel or checkout has beside the code; `redaction` says what is a secret; `computed`
stands for a table that could not be computed; `progress` tells the terminal what a run is at.

Does not belong here: the meaning of any table.
"""
