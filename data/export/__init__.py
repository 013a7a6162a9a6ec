"""Gold posts and answers in the forms of other tools."""
