"""Work that outlives a process: batches of many lines, and single calls whose answer is fetched later (deferred).

What is to be done, and how far it is, is in tables of our own (`stores.batch_items`, `stores.job_rows`); everything
here can be stopped at any moment, by `kill -9` too, and goes on from there.
"""
