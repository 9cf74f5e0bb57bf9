"""What is found by learning from the data, and by comparing items with each other.

Each part is bounded, so that it takes seconds: of larger data a sample is looked at, drawn evenly, and the finding says
so. Everything is numpy; nothing is trained that is kept.

- `quick_model`: a classifier in closed form, asked about items that it did not learn from;
- `features`: what it sees of images, texts, rows and recordings;
- `label_errors`: labels that it contradicts with confidence;
- `near_copies`: images and texts that are nearly equal;
- `columns`: columns that give the target away, hardly have values, or have values far from all others.
"""
