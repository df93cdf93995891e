"""Pretrained networks behind plain-array interfaces: strings or pixels in, NumPy out.

The only package that imports torch. `presets` needs nothing and is read first; the adapters load torch when they are
imported, so commands import them after their flags are parsed.
"""
