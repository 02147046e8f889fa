"""Projects of scans, on which readers draw."""
