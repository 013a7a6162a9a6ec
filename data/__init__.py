"""What is asked about, and how an answer is judged: posts, readers, the synthetic world, scoring, bias, the HTML view.

Nothing is imported here: take what you need from its module, or from `gmner`.
"""
