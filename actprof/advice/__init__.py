"""What to change so that a run fits: remedies, what each does, and which together reach a batch size."""
