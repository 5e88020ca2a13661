"""The status page in a real Chromium: apps to show, the browser, and the pictures in the docs."""
