"""The tags of a page, for tests to look at."""

from html.parser import HTMLParser


class Tags(HTMLParser):
    """Every tag of a page with its attributes."""

    def __init__(self, page):
        super().__init__()
        self.found = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, tag, **attributes):
        return [a for t, a in self.found if t == tag and attributes.items() <= a.items()]
