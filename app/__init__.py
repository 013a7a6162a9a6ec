"""`gmner app`: a local page to try programs, compare them and correct posts; only its pages need Gradio."""
