"""What rules would have done, and should be."""
