"""Posts and answers as HTML: cards, the report, notebook fragments."""
