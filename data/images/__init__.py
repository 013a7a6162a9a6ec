"""Opening the pictures of untrusted posts, from files and from addresses."""
