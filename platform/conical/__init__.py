"""conical: a Ray-distributed experiment platform for video-text retrieval.

Importing the package loads neither torch nor ray; import the layer that is needed, for example
`from conical.losses import ceo_loss`.
"""

__version__ = "0.1.0"
