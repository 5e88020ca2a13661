"""The docs' settings page, made of the table: `python -m conductor_jobs.settings_page > docs/settings.md`."""

from .settings import SETTINGS

_HEAD = """\
# Settings

A value comes from the flag, else the variable, else the code of APP, else the default. An empty variable is one that
is not set. APP's code gives what a `TimedJobs` is made with: `interval`, `max_messages_per_tick`,
`max_tasks_per_tick`, `settle_delay`. Give tokens by their variables: others can read flags in the list of
processes. Every bad value is reported, all of them at once, and then nothing is started; a variable that begins with
`BAA_CONDUCTOR_` or `BAA_TIMED_JOBS_` and is none of these is warned of. This page is made by
`python -m conductor_jobs.settings_page`.

| flag | variable | value | default | meaning |
|---|---|---|---|---|
"""


def settings_page() -> str:
    """Return the page as Markdown."""
    rows = [
        f"| `{setting.flag}` | {f'`{setting.variable}`' if setting.variable else ''} | {setting.rule.words} "
        f"| `{setting.default_words}` | {setting.help} |"
        for setting in SETTINGS
    ]
    return _HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    print(settings_page(), end="")  # noqa: T201 - what it is for
