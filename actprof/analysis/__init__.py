"""Questions asked of profiles and results, one verb per function; no torch, no device."""
