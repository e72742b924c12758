"""What people look at: one module a question, made of views, served live or written as files.

1. `spend`, `moves`, `forecast`, `bill`, `waste`, `sessions`, `contracts`, `teams`, `trust`, `session`: a view is one
   query on what is published, a sentence, a figure and a table.
2. `view` runs them with the filters of an address (`filters`); `plots` shapes their figures.
3. `site` renders them as HTML; `files` writes them to reports/, `rows` turns a view's rows into files.
4. `statement` is one month of one team as one file to send.

Does not belong here: any computation of results; views read only marts, analysis and ingest as published.
"""
