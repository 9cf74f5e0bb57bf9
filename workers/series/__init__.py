"""Series of values over time, the same way when an upload is checked, in training and in serving. Numpy and the
standard library only, so that a copy can leave with a model."""

MOST_HISTORY = 20_000  # values of a series that one request may send
