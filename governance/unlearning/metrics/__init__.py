"""Figures of an evaluation, each a pure function on cached embeddings.

Everywhere a *view* is one way of looking at the same images: the unedited model, the edit, or the control. Its
features are the unit image embeddings of that version, n × d float32; texts are unit prompt embeddings, m × d.
"""
