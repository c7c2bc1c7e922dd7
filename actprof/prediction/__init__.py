"""One cell answered without a GPU: verdict, limit, band, who holds the memory, step time."""
