"""What each verb does, without showing it: one file a verb, and what two of them share. ``export``
is the exception: its order is ``edgekit.pipeline.export``.
"""
