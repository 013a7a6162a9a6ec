"""Programs, the prompt adapter, the local engine, bundles, and runs over many posts.

This module imports nothing, so that the command line starts without torch. Import names from their own modules, or from
`gmner`.
"""
