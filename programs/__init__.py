"""What answers: programs, the prompt adapter, the local engine, the saved bundle, the corpus run, the command line.

Nothing is imported here, so that the command line starts without torch: take what you need from its module, or from
`gmner`.
"""
