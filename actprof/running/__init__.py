"""Around a training run: the command that fits, its process, its log, two runs compared."""
