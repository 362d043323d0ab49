"""Measurements that the documents quote: `python -m bench --benchmark DIR --out DIR`.

Each part is a module with one function, `run(settings) -> Section`; figures come from real runs only.
"""
