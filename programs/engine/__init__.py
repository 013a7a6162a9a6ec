"""The local engine behind `dspy.LM`: scheduler, batches, grammars, sampling, vision cache."""
