"""The synthetic world of posts."""
