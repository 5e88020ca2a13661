# ruff: noqa: A005 - nobody imports it, least of all as `typing`
"""What a user's type checker makes of the public API. Nothing here is executed; mypy and pyright read it.

`assert_type` states what is inferred. A call that must be refused has a `type: ignore` with mypy's code, and the reason
after it. Where a checker finds nothing to ignore it says so: mypy by its strict mode, pyright by the first line of
each file; so both have to find the error.
"""
