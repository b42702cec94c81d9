"""TensorRT on a device that has nothing but JetPack: its ``trtexec`` builds, runs and measures.

``flags`` are its options in the dialect of each version, ``files`` what it writes, ``fitness``
which bundle it can build, ``layers`` what the graph asks of the engine's layers, ``device`` the
order of the work.
"""
