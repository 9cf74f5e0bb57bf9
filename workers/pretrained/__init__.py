"""What is known of pretrained checkpoints without loading one: the site asks it too. The training is elsewhere
(workers/training/pretrained)."""
