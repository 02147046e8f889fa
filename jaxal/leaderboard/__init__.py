"""Which strategy is better, measured on tasks that need no download."""
