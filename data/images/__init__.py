"""Opening and fetching the images of untrusted posts."""
