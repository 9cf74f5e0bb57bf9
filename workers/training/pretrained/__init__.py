"""Trainings that start from a pretrained checkpoint. Only what is imported from here loads transformers, and only where
a model is built of one."""
