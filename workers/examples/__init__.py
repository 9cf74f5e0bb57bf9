"""Example data sets, of what scikit-learn carries along or drawn here: ``python -m workers.examples digits out.zip``.

The same bytes every time.
"""
