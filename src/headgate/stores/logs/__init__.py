"""The log store: the log's lines in a database, to be searched, summed and erased.

The data plane writes JSON lines, as fast as a file takes them; this room reads them on, in a process of its own.
"""
