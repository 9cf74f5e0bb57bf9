"""One training over several processes: planned, carried out, and fused into one model."""
