"""HTML pages of posts and predictions: cards, the report, and notebook fragments."""
