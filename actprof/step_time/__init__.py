"""How long a step takes: its kernels, what each takes on a GPU, and the host that launches them."""
