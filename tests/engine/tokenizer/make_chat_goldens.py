# SPDX-License-Identifier: Apache-2.0
"""Writes what transformers makes of some conversations with each template of data/chat: make_chat_goldens.py.

Run once, with the Python packages transformers 5.23 and jinja2; the tests read data/chat. The templates are written in the ways of
the families': what each of theirs uses of Jinja and of Python occurs in one of these.
"""

import json
from pathlib import Path

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

HERE = Path(__file__).resolve().parent / "data" / "chat"
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>"}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


SYSTEM = {"role": "system", "content": " You answer briefly.\n"}
CONVERSATIONS = [
    [user("Hello")],
    [SYSTEM, user("Hello")],
    [user("  blanks around \n"), assistant(" yes "), user("缓存 😀 \"quotes\" <b>&amp;</b> 'single' \\ back")],
    [SYSTEM, user("1"), assistant("<think>\nsum it\n</think>\n\n2"), user("3"), assistant("4"), user("")],
    [user("a"), assistant("no question behind it")],
    [SYSTEM],
    [user("a"), user("b")],
    [assistant("first")],
    [{"role": "tool", "content": "{\"x\": 1}"}],
    [user([{"type": "text", "text": "part one"}, {"type": "text", "text": "part two"}])],
    [{"role": "user", "content": "extra", "name": "Ann", "nested": {"b": [1, 2.5, None, True], "a": {}, "c": []}}],
    [{"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function":
        {"name": "f", "arguments": {"größe": "<1>", "n": 3}}}]}],
]


def main():
    cases = []
    for path in sorted(HERE.glob("*.jinja")):
        template = _compile_jinja_template(path.read_text())
        for messages in CONVERSATIONS:
            for prompt in (True, False):
                try:
                    text = template.render(messages=messages, add_generation_prompt=prompt, **TOKENS)
                except (jinja2.exceptions.TemplateError, TypeError) as error:
                    text = None
                    print(path.stem, "refuses:", error)
                cases.append({"template": path.stem, "messages": messages, "add_generation_prompt": prompt, "text": text})
    (HERE / "goldens.json").write_text(json.dumps({"tokens": TOKENS, "cases": cases}, ensure_ascii=False, indent=1) + "\n")
    print(len(cases), "cases")


main()
