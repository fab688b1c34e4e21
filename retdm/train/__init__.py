"""Training: stages, steps, checkpoints and logs; knows nothing of Ray."""
