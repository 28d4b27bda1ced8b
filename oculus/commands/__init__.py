"""Commands that look at the store: query, backup, export, compact. The daemon does their work if it runs."""
