"""What `ridgeway up` runs on this machine: supervisor, zygote, servers, and the worker that carries published runs out.

Nothing below knows of this layer. The supervisor imports next to nothing; what is heavy is imported once, by the
zygote, and shared by all that is forked from it.
"""
