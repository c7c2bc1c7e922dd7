"""Memory snapshots of PyTorch: read, rewound, replayed under other settings, checked."""
