"""Network probes: one file per probe, beside what they share: attempts, names, TLS, conditions, canaries."""
