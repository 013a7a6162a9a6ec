"""Value types, DSPy signatures and the JSON schema of an answer.

This package imports nothing, so that using a `Box` does not import DSPy. Import from the modules, or from `gmner`.
"""
