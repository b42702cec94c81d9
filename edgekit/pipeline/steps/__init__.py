"""The steps of an export, all of one shape: (what was converted so far, the step's configuration,
the context) → what is converted then. ``edgekit.pipeline.plan`` holds their order.
"""
