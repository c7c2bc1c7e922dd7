"""Around a training run: the command that fits, the process that runs it, what its log says, two runs compared."""
