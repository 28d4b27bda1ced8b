"""Rules: what is true of the numbers, and the alerts that follow. Pure: time and data are arguments."""
