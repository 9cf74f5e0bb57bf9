"""Rows of a table as arrays, the same way in training and in serving: cells (cells.py) of columns (columns.py), encoded
(encoder.py).

A `TableEncoder` is learned from the training rows, travels in ``meta.json`` and needs numpy only, so that what a model
was trained on and what it is asked later cannot differ. A row is a dict of column name to string, number, boolean or
None, as CSV readers and JSON clients make them.

Two arrays come out. ``numeric`` is float32 [N, F], centred on the median (so 0 is the imputed value) and divided by the
standard deviation; NaN marks a missing value and models decide what to make of it. ``categorical`` is int64 [N, C] with
code 0 for a value that was rare or absent in training, 1 for missing, and 2 and up for the known values.
"""
