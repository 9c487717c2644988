#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Asks a served engine through OpenAI's own client: openai_client.py BASE_URL MODEL.

Prints "ok", or an assertion says what was not as expected. The model is a tiny one with random weights: what it writes
means nothing, and answers are compared with each other.
"""

import asyncio
import os
import sys

os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1"  # whatever proxy the machine has

import openai

PROMPT = "The quick brown fox jumps over the lazy dog. Größe, キャッシュ."
TURN = [{"role": "user", "content": PROMPT}]
TOKENS = 24
GO_ON = {"ignore_eos": True}  # extensions go into extra_body
STREAMS = 16


def refusal(call, kind, **arguments):
    """The error of the kind that the call raises."""
    try:
        call(**arguments)
    except kind as error:
        return error
    raise AssertionError(f"{arguments} should raise {kind.__name__}")


def check_models(client, model):
    names = [one.id for one in client.models.list()]
    assert names == [model], f"the models are {names}"


def check_completions(client, model):
    asked = {"model": model, "prompt": PROMPT, "max_tokens": TOKENS, "extra_body": GO_ON}
    whole = client.completions.create(temperature=0, logprobs=3, **asked)
    choice = whole.choices[0]
    assert whole.object == "text_completion" and whole.model == model, whole
    assert choice.finish_reason == "length", choice
    assert whole.usage.completion_tokens == TOKENS, whole.usage
    assert whole.usage.total_tokens == whole.usage.prompt_tokens + TOKENS, whole.usage
    assert whole.usage.model_dump()["droidspeak"][0]["plan"] == "full", whole.usage
    logprobs = choice.logprobs
    assert len(logprobs.tokens) == len(logprobs.top_logprobs) == len(logprobs.text_offset) == TOKENS, logprobs
    values = logprobs.token_logprobs
    assert len(values) == TOKENS and all(-9999 < value <= 0 for value in values), values

    pieces, reasons = [], []
    for chunk in client.completions.create(temperature=0, stream=True, **asked):
        pieces.append(chunk.choices[0].text)
        reasons.append(chunk.choices[0].finish_reason)
    assert "".join(pieces) == choice.text, f"{pieces} are not '{choice.text}'"
    assert reasons[-1] == "length" and not any(reasons[:-1]), reasons

    several = client.completions.create(n=3, seed=7, **asked)
    assert [one.index for one in several.choices] == [0, 1, 2], several
    texts = [one.text for one in several.choices]
    assert len(set(texts)) == 3, texts
    again = [one.text for one in client.completions.create(n=3, seed=7, **asked).choices]
    assert again == texts, f"{again} are not {texts}"

    text = texts[0]
    assert len(text) > 11, f"'{text}' is too short"
    stop = text[8:11]
    stopped = client.completions.create(n=1, seed=7, stop=[stop, "never to be seen"], **asked).choices[0]
    assert stopped.text == text.partition(stop)[0], f"'{stopped.text}' should end before '{stop}' of '{text}'"
    assert stopped.finish_reason == "stop", stopped


def check_chat(client, model):
    asked = {"model": model, "messages": TURN, "max_completion_tokens": TOKENS,
             "extra_body": {**GO_ON, "top_k": 5}}
    whole = client.chat.completions.create(seed=5, logprobs=True, top_logprobs=2, **asked)
    choice = whole.choices[0]
    assert whole.object == "chat.completion" and choice.message.role == "assistant", whole
    assert choice.finish_reason == "length" and whole.usage.completion_tokens == TOKENS, whole
    assert len(choice.logprobs.content) == TOKENS, choice.logprobs
    for token in choice.logprobs.content:
        assert -9999 < token.logprob <= 0 and len(token.top_logprobs) == 2, token

    chunks = list(client.chat.completions.create(seed=5, stream=True, stream_options={"include_usage": True}, **asked))
    *parts, last = chunks
    assert last.choices == [] and last.usage.completion_tokens == TOKENS, last
    assert all(part.usage is None and len(part.choices) == 1 for part in parts), parts
    assert parts[0].choices[0].delta.role == "assistant", parts[0]
    text = "".join(part.choices[0].delta.content or "" for part in parts)
    assert text == choice.message.content, f"'{text}' is not '{choice.message.content}'"
    assert len({chunk.id for chunk in chunks}) == 1, chunks

    in_parts = {**asked, "messages": [{"role": "user", "content": [{"type": "text", "text": PROMPT}]}]}
    same = client.chat.completions.create(seed=5, **in_parts).choices[0].message.content
    assert same == text, f"'{same}' is not '{text}'"
    raw = client.chat.completions.with_raw_response.create(seed=5, **asked)
    cached = raw.parse().usage.prompt_tokens_details.cached_tokens
    assert cached > 0, f"{cached} tokens of a prompt that was read before are cached"


def check_errors(client, model):
    chat, completions = client.chat.completions.create, client.completions.create
    unknown = refusal(chat, openai.NotFoundError, model="other", messages=TURN)
    assert unknown.code == "model_not_found", unknown
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}]
    for call, param, arguments in [
            (completions, "echo", {"prompt": PROMPT, "echo": True}),
            (completions, "max_tokens", {"prompt": PROMPT, "max_tokens": 10_000_000}),
            (chat, "tools", {"messages": TURN, "tools": tools}),
            (chat, "temperature", {"messages": TURN, "temperature": 3}),
            (chat, "nonsense", {"messages": TURN, "extra_body": {"nonsense": 1}})]:
        error = refusal(call, openai.BadRequestError, model=model, **arguments)
        assert error.param == param, f"{error} names {error.param} instead of {param}"
        assert error.type == "invalid_request_error" and error.body["message"], error


async def streamed(client, model, seed):
    text = ""
    async for chunk in await client.chat.completions.create(
            model=model, messages=TURN, max_tokens=TOKENS, seed=seed, stream=True, extra_body=GO_ON):
        text += chunk.choices[0].delta.content or ""
    return text


async def check_streams(client, model):
    async with client:
        alone = [await streamed(client, model, seed) for seed in range(STREAMS)]
        together = await asyncio.gather(*(streamed(client, model, seed) for seed in range(STREAMS)))
    assert list(together) == alone, f"{together} are not {alone}"
    assert len(set(alone)) > 1, alone


def main():
    url, model = sys.argv[1:]
    settings = {"base_url": url, "api_key": "x", "max_retries": 0, "timeout": 60}
    with openai.OpenAI(**settings) as client:
        check_models(client, model)
        check_completions(client, model)
        check_chat(client, model)
        check_errors(client, model)
    asyncio.run(check_streams(openai.AsyncOpenAI(**settings), model))
    print("ok")


if __name__ == "__main__":
    main()
