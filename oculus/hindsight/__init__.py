"""Questions asked of stored history: what rules would have done, and what they should be."""
