"""What RFC-EG-028 demands, and which tests showed it for this version."""
