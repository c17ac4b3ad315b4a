#!/usr/bin/env python3
"""A preprocessor of mdBook, after mdbook-katex: the TeX that MathML carries along is no Markdown.

KaTeX puts the source of each formula into an <annotation>. To CommonMark its underscores and asterisks are emphasis, whose
tags would end the formula in the middle. As entities they are characters. So are the tildes of \\tilde.
"""
import json
import re
import sys

MARKS = {"_": "&#95;", "*": "&#42;", "`": "&#96;"}
TILDE = "&#126;"


def escaped(text):
    def annotation(match):
        return match[1] + re.sub("[_*`]", lambda mark: MARKS[mark[0]], match[2]) + match[3]

    text = re.sub(r"(<annotation[^>]*>)(.*?)(</annotation>)", annotation, text, flags=re.S)
    # Two accents of one paragraph would strike out what is between them.
    return re.sub(r"<math.*?</math>", lambda formula: formula[0].replace("~", TILDE), text, flags=re.S)


def walk(items):
    for item in items:
        if isinstance(item, dict) and "Chapter" in item:
            chapter = item["Chapter"]
            chapter["content"] = escaped(chapter["content"])
            walk(chapter["sub_items"])


if len(sys.argv) > 2 and sys.argv[1] == "supports":
    sys.exit(0 if sys.argv[2] == "html" else 1)
_, book = json.load(sys.stdin)
walk(book.get("items") or book.get("sections") or [])
json.dump(book, sys.stdout)
