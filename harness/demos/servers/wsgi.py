# SPDX-License-Identifier: GPL-2.0
# An application for gunicorn: the page that the client knows.
with open("/servers/page", "rb") as file:
    page = file.read()


def application(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(page)))])
    return [page]
