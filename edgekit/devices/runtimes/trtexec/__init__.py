"""TensorRT on a device that has only JetPack: its ``trtexec`` builds, runs and measures engines.

``flags`` has its options in each version, ``files`` reads the files that it writes, ``fitness``
decides which bundle it can build, ``layers`` audits the layers of the engine, ``failures`` explains
its errors, and ``device`` has the order of the work.
"""
