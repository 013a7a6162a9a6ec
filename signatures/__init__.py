"""What is asked, as types: values, spans, boxes, the DSPy signatures and the JSON schema of an answer."""
