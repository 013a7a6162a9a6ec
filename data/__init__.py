"""What is asked about, and how an answer is judged."""
