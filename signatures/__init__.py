"""What is asked, as types: values, spans, boxes, the DSPy signatures and the JSON schema of an answer.

Nothing is imported here, so that a value or a box costs no DSPy: take what you need from its module, or from `gmner`.
"""
